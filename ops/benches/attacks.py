"""What somebody on the way can make of a sealed message: moved elsewhere, or with a bit flipped in each field."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import msgpack

from fedbus.messages.envelope import Envelope

# Of the header, what a message is moved by, and where to.
MOVES: dict[str, Any] = {"job": "other-job", "round": 7, "batch": 3, "recipient": "credit", "sender": "credit"}
_PLACE = ("job", "sender", "recipient", "round", "batch", "chunk", "chunks")


class _Kind:
    """Stands for a payload, of which an envelope's id needs the kind only."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


def moved(body: bytes, **changes: Any) -> bytes:
    """A message elsewhere, with the id that it would have there."""
    fields = {**_fields(body), **changes}
    place = {name: fields[name] for name in _PLACE}
    fields["id"] = Envelope(payload=_Kind(fields["kind"]), **place).id  # type: ignore[arg-type]
    return bytes(msgpack.packb(fields))


def flipped(body: bytes) -> Iterator[tuple[str, bytes]]:
    """The message with one bit flipped in each field; of bytes the first, the last and one in the middle."""
    for name, value in _fields(body).items():
        for where, changed in _flips(value):
            yield f"a bit of {name}{where}", bytes(msgpack.packb({**_fields(body), name: changed}))


def altered(body: bytes) -> Iterator[tuple[str, bytes]]:
    """All that can be made of a sealed message without its key, by what it is."""
    yield from ((name, changed) for name, changed in _altered(body) if changed != body)


def _altered(body: bytes) -> Iterator[tuple[str, bytes]]:
    for name, value in MOVES.items():
        yield f"moved to another {name}", moved(body, **{name: value})
    yield "moved to another chunk", moved(body, chunk=1, chunks=2)
    yield "said to be sealed in another manner", moved(body, seal=3 - _fields(body)["seal"])
    yield "said not to be sealed", moved(body, seal=0)
    yield "without its sender's key", moved(body, key=b"")
    yield "cut off", body[:-1]
    yield "without its seal", moved(body, payload={})
    yield from flipped(body)


def _fields(body: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = msgpack.unpackb(body)
    return fields


def _flips(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, bytes):
        for where in sorted({0, len(value) // 2, len(value) - 1} if value else ()):
            changed = bytearray(value)
            changed[where] ^= 1
            yield f" at byte {where}", bytes(changed)
    elif isinstance(value, str):
        yield "", chr(ord(value[0]) ^ 1) + value[1:]
    elif isinstance(value, float):
        (bits,) = struct.unpack("<Q", struct.pack("<d", value))
        yield "", struct.unpack("<d", struct.pack("<Q", bits ^ 1))[0]
    else:
        yield "", value ^ 1
