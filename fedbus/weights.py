"""A model's parameters have one form on the wire and on disk:
one safetensors blob, and the same memory as one flat vector.

The format is that of https://huggingface.co/docs/safetensors: the length of the header (8 bytes, little-endian), the
header (JSON: name, type, shape and place of every tensor), the tensors one after the other without gaps. It carries
numbers and nothing that could be run.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from safetensors import SafetensorError, safe_open

from fedbus.errors import ProtocolError

MAX_HEADER_BYTES = 1 << 20
MAX_TENSORS = 20_000
FLOAT32 = np.dtype("<f4")
_LENGTH_BYTES = 8
_SHOWN = 100

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class WeightsLayout:
    """It holds what a model's blobs have in common, without the numbers.

    Attributes:
        header: see Weights.
        shapes: see Weights.
    """

    header: bytes
    shapes: Shapes

    @classmethod
    def of(cls, shapes: Shapes) -> WeightsLayout:
        """Make the layout of tensors of these shapes; they lie in the order of their names."""
        ordered = {name: shapes[name] for name in sorted(shapes)}
        return cls(_write_header(ordered), ordered)

    @property
    def parameters(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def size(self) -> int:
        """The number of bytes of a blob."""
        return len(self.header) + FLOAT32.itemsize * self.parameters


class Weights:
    """Named float32 tensors in one buffer.

    Attributes:
        shapes: name and shape of every tensor, in the order of the data.
        header: all bytes before the data; equal headers mean equal names, shapes and order.
        blob: the whole as a memoryview of bytes, to be cut into chunks without a copy.
        flat: (parameters,) float32, the data section of `blob` itself: what is written there is written to the blob.

    Source: the format's own parser decides what is sound (safetensors, `safe_open`).
    """

    __slots__ = ("blob", "flat", "header", "shapes")

    def __init__(self, buffer: bytearray | memoryview, data: int, shapes: Shapes) -> None:
        """Use `parse` or `of`.

        Args:
            buffer: writable, its data section aligned to four bytes.
            data: where the data section begins.
            shapes: in the order of the data section, which they fill.
        """
        self.blob = memoryview(buffer)
        self.header = bytes(self.blob[:data])
        self.flat: np.ndarray = np.frombuffer(self.blob, dtype=FLOAT32, offset=data)
        self.shapes = shapes

    @classmethod
    def parse(cls, blob: bytes | bytearray, like: WeightsLayout | None = None) -> Weights:
        """Read the weights from a blob that a peer sent.

        A bytearray is taken over without a copy (leave it alone afterwards), unless its data section is not aligned;
        bytes are copied once.

        Args:
            like: what they most likely look like: an equal header is not read again.

        Raises:
            ProtocolError: it is no safetensors blob, its header is too large, or a tensor is not float32 or not finite.
        """
        data = _data_start(blob)
        header = bytes(memoryview(blob)[:data])
        if like is not None and header == like.header and len(blob) == like.size:
            shapes = dict(like.shapes)
        else:
            shapes = _read_header(header, len(blob))
        buffer = blob if isinstance(blob, bytearray) else bytearray(blob)
        weights = cls(_aligned(buffer, data), data, shapes)
        weights._check_finite()
        return weights

    @classmethod
    def of(cls, tensors: Mapping[str, np.ndarray]) -> Weights:
        """Make weights of arrays of floating point numbers, in the order of their names; they are copied.

        The blob is the one that `safetensors.numpy.save` makes of the same arrays in float32.
        """
        layout = WeightsLayout.of({name: tuple(tensor.shape) for name, tensor in tensors.items()})
        weights = cls(bytearray(layout.size), len(layout.header), layout.shapes)
        weights.blob[: len(layout.header)] = layout.header
        weights.header = layout.header
        for name, view in weights.tensors().items():
            view[...] = tensors[name]
        return weights

    def __len__(self) -> int:
        return len(self.flat)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return every tensor by name, float32; they are views of `flat`."""
        return {name: part.reshape(self.shapes[name]) for name, part in self._parts()}

    def copy(self) -> Weights:
        """Return the same weights in memory of their own."""
        data = len(self.header)
        return Weights(_aligned(bytearray(self.blob), data), data, dict(self.shapes))

    def check_like(self, other: WeightsLayout | Weights, sender: str) -> None:
        """Make sure that these weights, which `sender` sent, have the tensors of `other` in its order.

        Raises:
            ProtocolError: names the first tensor whose name or shape differs.
        """
        check_shapes(self.shapes, other.shapes, sender)

    def _parts(self) -> Iterator[tuple[str, np.ndarray]]:
        start = 0
        for name, shape in self.shapes.items():
            size = math.prod(shape)
            yield name, self.flat[start : start + size]
            start += size

    def _check_finite(self) -> None:
        # The extremes are NaN where any entry is, and take no memory.
        if not len(self) or (np.isfinite(self.flat.min()) and np.isfinite(self.flat.max())):
            return
        name = next(name for name, part in self._parts() if not np.isfinite(part).all())
        raise ProtocolError(f"weights: tensor {_quoted(name)} is not finite; the sender's training has diverged")


def check_shapes(found: Shapes, expected: Shapes, sender: str) -> None:
    """Check as Weights.check_like does, for a model whose weights are not at hand as a blob."""
    remedy = "use the same model and the same versions of its libraries at all parties"
    for (name, shape), (other, wanted) in zip(found.items(), expected.items(), strict=False):
        if name != other:
            raise ProtocolError(f"{sender} sent tensor {_quoted(name)} where this model has {_quoted(other)}; {remedy}")
        if shape != wanted:
            raise ProtocolError(
                f"{sender} sent tensor {_quoted(name)} of shape {shape}, this model's is {wanted}; {remedy}"
            )
    if len(found) != len(expected):
        longer, whose = (found, sender) if len(found) > len(expected) else (expected, "this model")
        name = list(longer)[min(len(found), len(expected))]
        raise ProtocolError(
            f"{sender} sent {len(found)} tensors and this model has {len(expected)}: "
            f"only {whose} has {_quoted(name)}; {remedy}"
        )


def _quoted(name: str) -> str:
    """Return a name for a message: a peer may have chosen one of a megabyte."""
    return repr(name if len(name) <= _SHOWN else name[:_SHOWN] + "…")


def _data_start(blob: bytes | bytearray) -> int:
    """Return where the data section begins; raise ProtocolError where the blob is shorter or the header too large."""
    length = int.from_bytes(blob[:_LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        raise ProtocolError(f"weights: the header has {length} bytes, at most {MAX_HEADER_BYTES} are read")
    if len(blob) < _LENGTH_BYTES + length:
        raise ProtocolError(f"weights: {len(blob)} bytes are shorter than their header")
    return _LENGTH_BYTES + length


def _read_header(header: bytes, size: int) -> Shapes:
    """Names and shapes in the order of the data; ProtocolError unless a blob of `size` bytes with this header is sound.

    The parser takes bytes, and copies every tensor, or the name of a file, and reads no tensor. So it is given a file
    in memory that has the header and, where the data would be, a hole: no copy of 100 megabytes to look at their names.
    """
    descriptor = os.memfd_create("weights")
    try:
        os.write(descriptor, header)
        os.ftruncate(descriptor, size)
        with safe_open(f"/proc/self/fd/{descriptor}", framework="numpy") as file:
            names = file.offset_keys()
            if len(names) > MAX_TENSORS:
                raise ProtocolError(f"weights: {len(names)} tensors; at most {MAX_TENSORS} are read")
            slices = {name: file.get_slice(name) for name in names}
            for name, found in slices.items():
                if found.get_dtype() != "F32":
                    raise ProtocolError(
                        f"weights: tensor {_quoted(name)} has type {found.get_dtype()}; only F32 is averaged"
                    )
            return {name: tuple(found.get_shape()) for name, found in slices.items()}
    except SafetensorError as error:
        raise ProtocolError(f"weights: no safetensors blob: {error}") from None
    finally:
        os.close(descriptor)


def _write_header(shapes: Shapes) -> bytes:
    """The header of these tensors, one after the other, padded to eight bytes as the format's own writer does."""
    entries, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + FLOAT32.itemsize * math.prod(shape)
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": (start, end)}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text


def _aligned(buffer: bytearray, data: int) -> bytearray | memoryview:
    """`buffer`, or a copy of it whose data section begins at a multiple of four, which fast arithmetic needs."""
    if np.frombuffer(buffer, dtype=FLOAT32, offset=data).flags.aligned:
        return buffer
    room = np.empty(len(buffer) + FLOAT32.itemsize, dtype=np.uint8)
    start = -(room.ctypes.data + data) % FLOAT32.itemsize
    copy = room[start : start + len(buffer)]
    copy[:] = np.frombuffer(buffer, dtype=np.uint8)
    return copy.data
