"""Weights against the format's own library; what a peer may not send; and one memory for blob and vector."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from fedbus import weights as module
from fedbus.errors import ProtocolError
from fedbus.weights import Weights, WeightsLayout

TENSORS = {
    "b.weight": np.arange(12, dtype=np.float32).reshape(3, 4) - 5,
    "a": np.array(0.5, dtype=np.float32),
    "äöü": np.zeros((0, 2), dtype=np.float32),
    "b.bias": np.array([1, -2, 3], dtype=np.float32),
}


def blob_of(header: Any, data: bytes, pad: int = 0) -> bytes:
    text = (header if isinstance(header, bytes) else json.dumps(header).encode()) + b" " * pad
    return len(text).to_bytes(8, "little") + text + data


def entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_the_blob_is_the_libraries_own() -> None:
    weights = Weights.of(TENSORS)
    assert bytes(weights.blob) == safetensors.numpy.save(TENSORS)
    assert list(weights.shapes.items()) == [("a", ()), ("b.bias", (3,)), ("b.weight", (3, 4)), ("äöü", (0, 2))]
    assert weights.flat.tolist() == [0.5, 1, -2, 3, *range(-5, 7)]
    assert len(weights) == 16
    assert weights.header + weights.flat.tobytes() == bytes(weights.blob)


def test_parse_reads_what_the_library_writes() -> None:
    parsed = Weights.parse(safetensors.numpy.save(TENSORS, metadata={"made": "elsewhere"}))
    for name, view in parsed.tensors().items():
        assert view.shape == TENSORS[name].shape
        assert view.tolist() == TENSORS[name].tolist()
    parsed.check_like(Weights.of(TENSORS), "shop")


def test_parse_reads_a_header_that_it_knows_no_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    blob, known = (
        bytes(Weights.of(TENSORS).blob),
        WeightsLayout.of({name: each.shape for name, each in TENSORS.items()}),
    )
    monkeypatch.setattr("fedbus.weights._read_header", lambda *_: {"read": (16,)})
    assert list(Weights.parse(blob, known).shapes) == sorted(TENSORS)
    # Longer than the header says, or with another header: the parser decides.
    for other, like in ((blob + bytes(4), known), (blob, WeightsLayout.of({"a": (16,)}))):
        assert list(Weights.parse(other, like).shapes) == ["read"]


def test_one_memory() -> None:
    buffer = bytearray(Weights.of(TENSORS).blob)
    weights = Weights.parse(buffer)
    assert weights.blob.obj is buffer
    weights.flat[1] = 7
    weights.tensors()["b.weight"][2, 3] = -1
    copy = weights.copy()
    copy.flat[:] = 0
    again = safetensors.numpy.load(bytes(weights.blob))
    assert (again["b.bias"][0], again["b.weight"][2, 3]) == (7, -1)
    assert weights.flat[1] == 7


def test_bytes_are_copied() -> None:
    blob = bytes(Weights.of(TENSORS).blob)
    weights = Weights.parse(blob)
    weights.flat[:] = 0
    assert blob == bytes(Weights.of(TENSORS).blob)


@pytest.mark.parametrize("pad", range(8))
def test_data_that_is_not_aligned(pad: int) -> None:
    buffer = bytearray(blob_of({"w": entry([2], 0, 8)}, np.array([1, 2], dtype="<f4").tobytes(), pad))
    weights = Weights.parse(buffer)
    weights.flat += 1
    assert weights.flat.ctypes.data % 4 == 0
    assert (weights.blob.obj is buffer) == ((len(buffer) - 8) % 4 == 0)
    assert safetensors.numpy.load(bytes(weights.blob))["w"].tolist() == [2, 3]
    assert bytes(weights.copy().blob) == bytes(weights.blob)


def test_the_order_is_that_of_the_data() -> None:
    data = np.array([1, 2, 3], dtype="<f4").tobytes()
    weights = Weights.parse(blob_of({"a": entry([1], 8, 12), "b": entry([2], 0, 8)}, data))
    assert list(weights.shapes) == ["b", "a"]
    assert {name: view.tolist() for name, view in weights.tensors().items()} == {"b": [1, 2], "a": [3]}
    with pytest.raises(ProtocolError, match="shop sent tensor 'b' where this model has 'a'"):
        weights.check_like(Weights.of(weights.tensors()), "shop")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: {**t, "b.bias": np.zeros(4)},
            r"shop sent tensor 'b.bias' of shape \(4,\), this model's is \(3,\); use",
        ),
        (lambda t: {**t, "ü": np.zeros(4)}, "shop sent 5 tensors and this model has 4: only shop has 'ü'"),
        (lambda t: {k: v for k, v in t.items() if k != "äöü"}, "only this model has 'äöü'"),
        (lambda t: {k: v for k, v in t.items() if k != "a"}, "sent tensor 'b.bias' where this model has 'a'"),
    ],
)
def test_tensors_that_differ(change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]], message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        Weights.of(change(TENSORS)).check_like(Weights.of(TENSORS), "shop")


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (b"", "0 bytes are shorter"),
        (b"\x40" + bytes(7) + b"{}", "10 bytes are shorter"),
        (b"\xff" * 8, "at most 1048576 are read"),
        (blob_of(b"{", b""), "no safetensors blob"),
        (blob_of({"w": entry([2], 0, 8)}, bytes(4)), "no safetensors blob"),
        (blob_of({"w": entry([2], 0, 8)}, bytes(12)), "no safetensors blob"),
        (blob_of({"w": entry([2], 4, 12)}, bytes(12)), "no safetensors blob"),
        (blob_of({"w": entry([3], 0, 8)}, bytes(8)), "no safetensors blob"),
        (blob_of({"v": entry([2], 0, 8), "w": entry([2], 4, 12)}, bytes(12)), "no safetensors blob"),
        (blob_of({"w": entry([2**33, 2**33], 0, 8)}, bytes(8)), "no safetensors blob"),
        (
            blob_of({"v": entry([1], 0, 4), "w": entry([1], 4, 12, "F64")}, bytes(12)),
            "tensor 'w' has type F64; only F32",
        ),
        (blob_of({"w" * 200: entry([1], 0, 8, "I64")}, bytes(8)), "tensor 'w{100}…' has type I64"),
        (safetensors.numpy.save({"v": np.ones(3, "f4"), "w": np.array([1, np.nan], "f4")}), "tensor 'w' is not finite"),
        (safetensors.numpy.save({"v": np.array([0, -np.inf], "f4")}), "tensor 'v' is not finite"),
    ],
)
def test_what_a_peer_may_not_send(blob: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        Weights.parse(blob)


def test_too_many_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TENSORS", 3)
    with pytest.raises(ProtocolError, match="4 tensors; at most 3 are read"):
        Weights.parse(bytes(Weights.of(TENSORS).blob))


@given(st.data())
def test_a_damaged_blob_is_refused_or_reads_as_the_library_reads_it(data: st.DataObject) -> None:
    blob = bytearray(Weights.of({"a": np.ones(2), "b": np.ones((2, 1))}).blob)
    for _ in range(data.draw(st.integers(1, 3))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(blob[: data.draw(st.integers(len(blob) - 2, len(blob)))])
    try:
        weights = Weights.parse(cut)
    except ProtocolError:
        return
    library = safetensors.numpy.load(cut)
    assert {name: view.tolist() for name, view in weights.tensors().items()} == {
        name: array.tolist() for name, array in library.items()
    }
