"""The fields of messages may hold these types, ranges and lengths, to which each message is held once, on arrival.

Whoever computes with a message, shows it or stores it relies on them and checks nothing of the kind again.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from fedbus.names import Name

# Far above what a job needs and within what the store can count.
MAX_ROUND = 2**31 - 1
MAX_BATCH = 4095
MAX_CHUNKS = 1_000_000
MAX_PARTIES = 100
# Characters of what one participant tells the others of why, which reports and terminals repeat.
MAX_TEXT = 8192
MAX_ADDRESS = 300
MAX_COLUMNS = 1_000_000
# Of chunks that are asked for at once: the request has to fit one message.
MAX_ASKED_FOR = 10_000

_MOST = sys.float_info.max
# Of maps and lists within each other; a report has five.
_MOST_DEPTH = 16


Names = Annotated[tuple[Name, ...], Meta(max_length=MAX_PARTIES)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
# Of a kind, a group, a task.
Word = Annotated[str, Meta(max_length=64)]
Words = Annotated[tuple[Word, ...], Meta(max_length=16)]
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Address = Annotated[str, Meta(max_length=MAX_ADDRESS)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Round = Annotated[int, Meta(ge=-1, le=MAX_ROUND)]
Batch = Annotated[int, Meta(ge=0, le=MAX_BATCH)]
Chunk = Annotated[int, Meta(ge=0, le=MAX_CHUNKS)]
Chunks = Annotated[list[Chunk], Meta(max_length=MAX_ASKED_FOR)]
# Of a power of two or of fixed point.
Exponent = Annotated[int, Meta(ge=-100_000, le=100_000)]
# Of the fraction of a fixed point.
Bits = Annotated[int, Meta(ge=0, le=64)]
Exponents = Annotated[tuple[Exponent, ...], Meta(max_length=MAX_COLUMNS)]
Columns = Annotated[int, Meta(ge=0, le=MAX_COLUMNS)]
ColumnNames = Annotated[tuple[Annotated[str, Meta(max_length=MAX_TEXT)], ...], Meta(max_length=MAX_COLUMNS)]
# Of each column what its dates are counted in, "" where it has none; see fedbus.datasets.
DateUnits = Annotated[
    tuple[Annotated[str, Meta(pattern=r"\A(days|hours|seconds|)\Z")], ...], Meta(max_length=MAX_COLUMNS + 1)
]
ColumnsByParty = Annotated[dict[Name, Columns], Meta(max_length=MAX_PARTIES)]
Width = Annotated[int, Meta(ge=1, le=65_536)]
Finite = Annotated[float, Meta(ge=-_MOST, le=_MOST)]
Seconds = Annotated[float, Meta(ge=0, le=_MOST)]
# Keys, signatures, shares: one of each party.
Parts = Annotated[tuple[bytes, ...], Meta(max_length=MAX_PARTIES)]


def check_plain(value: Any, field: str, *, finite: bool = True) -> None:
    """Hold a map, list or value to what JSON can say: no bytes, no arrays, only text as keys.

    Args:
        field: of the message, for errors.
        finite: refuse numbers that are not.

    Raises:
        TypeError, ValueError: names the place within the field.
    """
    waiting = [(value, field, 0)]
    while waiting:
        item, place, depth = waiting.pop()
        if depth > _MOST_DEPTH:
            raise ValueError(f"{field}: maps and lists within each other more than {_MOST_DEPTH} deep")
        if isinstance(item, dict):
            waiting += [(inner, f"{place}.{str(key)[:40]}", depth + 1) for key, inner in item.items()]
            if not all(isinstance(key, str) for key in item):
                raise ValueError(f"{place}: a key is not text")
        elif isinstance(item, list | tuple):
            waiting += [(inner, f"{place}[{number}]", depth + 1) for number, inner in enumerate(item)]
        elif not isinstance(item, str | int | float | None):
            raise TypeError(f"{place}: {type(item).__name__} is no value of a report")
        elif finite and isinstance(item, int | float) and not -_MOST <= item <= _MOST:
            raise ValueError(f"{place}: {item} is not finite")


def check_finite(array: Any, field: str, length: int | None = None) -> None:
    """Hold an array to float64, one dimension, finite entries, and a length; raises ValueError."""
    if not isinstance(array, np.ndarray) or array.dtype != np.float64 or array.ndim != 1:
        raise ValueError(f"{field}: expected one row of 64-bit numbers")
    if length is not None and len(array) != length:
        raise ValueError(f"{field}: {len(array)} numbers, where {length} are due")
    if not np.isfinite(array).all():
        raise ValueError(f"{field}: a number is not finite")


def check_map(value: Any, field: str, *, of: type | tuple[type, ...], needed: tuple[str, ...] = ()) -> None:
    """Hold a map within a report to values of a type and to keys that are needed; raises TypeError, ValueError.

    Numbers are not negative where `of` is int.
    """
    if not isinstance(value, dict):
        raise TypeError(f"{field}: expected a map, got {type(value).__name__}")
    for key in needed:
        if key not in value:
            raise ValueError(f"{field}.{key}: missing")
    for key, item in value.items():
        if isinstance(item, bool) or not isinstance(item, of):
            raise TypeError(f"{field}.{str(key)[:40]}: expected a number, got {type(item).__name__}")
        if of is int and isinstance(item, int) and item < 0:
            raise ValueError(f"{field}.{str(key)[:40]}: {item} is below 0")


def nulled(value: Any) -> Any:
    """Return a value of a report with None for each number that is not finite, which no report can hold."""
    if isinstance(value, dict):
        return {key: nulled(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [nulled(item) for item in value]
    return None if isinstance(value, float) and not -_MOST <= value <= _MOST else value


def shortened(text: str, most: int = 4000) -> str:
    """Cut a text to what a message can hold; what is cut off is marked."""
    return text if len(text) <= most else text[: most - 2] + " …"
