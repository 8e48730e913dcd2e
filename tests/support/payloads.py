"""A sound message of each kind, and values that no field but its own kind of field may hold."""

from __future__ import annotations

import inspect
import math
from typing import Any, get_type_hints

import numpy as np
from msgspec import inspect as msgspec_types

from fedbus.algorithms.registry import KINDS
from fedbus.crypto.tensor import CipherTensor
from fedbus.messages.ledger import JobLine, StateLine

TENSOR = CipherTensor(b"k" * 16, 40, 4, b"abcdefgh")
KEY = bytes(32)
LINE = JobLine("job-1", "test", "fedavg", ("bank",), "olga", "running", "", 1.0e9, 1.1e9, 3, None, "round")

# By the name of a kind's field; whatever is not here comes from _BY_TYPE.
_OWN: dict[str, Any] = {
    "state": "failed",
    "rows": 3,
    "figures": {"bytes_sent": 1, "peak_memory_bytes": 2, "train": {"mse": 0.5, "auc": None}},
}
_BY_TYPE: dict[str, Any] = {
    "CipherTensor": TENSOR,
    "Word": "word",
    "Words": ("word", "other"),
    "TaskName": "train",
    "Text": "because",
    "Address": "http://127.0.0.1:9464/metrics",
    "Name": "shop",
    "Signature": bytes(64),
    "Count": 3,
    "Round": 2,
    "Batch": 1,
    "Exponent": 40,
    "Bits": 40,
    "GramStep": "check",
    "Columns": 4,
    "Width": 128,
    "Finite": 0.5,
    "Seconds": 0.25,
    "float": 0.5,
    "bool": True,
    "bytes": KEY,
    "Names": ("bank", "shop"),
    "Parts": (KEY, KEY),
    "Chunks": [1, 2],
    "Exponents": (1, -2),
    "ColumnNames": ("age", "income"),
    "DateUnits": ("", "hours", "days"),
    "ColumnsByParty": {"bank": 2},
    "dict[str, Count]": {"train": 3, "test": 0},
    "dict[str, Any]": {"name": "test"},
    "dict[str, Any] | None": {"loss": [0.5, 0.25]},
    "float | None": 0.5,
    "tuple[Finite, Address] | None": (0.5, "test-1"),
    "JobLines": [LINE],
    "JobLine | None": LINE,
    "StateLines | None": [StateLine("running", "", 1.0e9)],
    "np.ndarray": np.array([0.5, 2.0]),
}

HOSTILE: dict[str, Any] = {
    "text": "\x1b[31mtext",
    "empty": "",
    "long": "x" * 40_000,
    "list": [1, "a"],
    "empty list": [],
    "map": {"a": 1},
    "empty map": {},
    "bytes in a map": {"a": b"1"},
    "nested": {"train": [[{"mse": [1]}]]},
    "deep": {"a": [[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]},
    "nan": math.nan,
    "nan in a map": {"train": math.nan, "test": 1},
    "inf": math.inf,
    "-inf": -math.inf,
    "minus": -1,
    "huge": 2**64 - 1,
    "bytes": b"\x00bytes",
    "none": None,
    "true": True,
    "array": np.array([1.0, math.nan]),
    "array of bytes": np.frombuffer(b"abc", np.uint8),
    "tensor": TENSOR,
    "tensor as a map": {"fingerprint": b"k" * 16, "scale": 2**60, "width": 4, "blob": b"abcd"},
}


def sound(kind: str) -> dict[str, Any]:
    """The fields of a sound message of a kind."""
    return {
        name: _OWN[name] if _own(name, of) else _BY_TYPE[of] if of in _BY_TYPE else _least(kind, name)
        for name, of in types(kind).items()
    }


def _least(kind: str, name: str) -> Any:
    """The least value of a field whose type is an algorithm's own: a number, a text or bytes within bounds."""
    of = msgspec_types.type_info(get_type_hints(KINDS[kind], include_extras=True)[name])
    if isinstance(of, msgspec_types.BytesType):
        return bytes(of.min_length or 0)
    if isinstance(of, msgspec_types.StrType):
        return "x" * (of.min_length or 0)
    if isinstance(of, msgspec_types.IntType | msgspec_types.FloatType):
        return of.ge or 0
    raise NotImplementedError(f"{kind}.{name}: name a sound value of {of} in _BY_TYPE")


def _own(name: str, of: str) -> bool:
    return name in _OWN and not (name == "rows" and of != "Count")


def types(kind: str) -> dict[str, str]:
    """The declared type of each field of a kind, as it is written there."""
    found: dict[str, str] = {}
    for cls in reversed(KINDS[kind].__mro__):
        found |= {name: of for name, of in inspect.get_annotations(cls).items() if "ClassVar" not in of}
    return found
