"""Messages of every kind with something in them changed are read, or are a DecodeError; never anything else."""

from __future__ import annotations

import random
from typing import Any

import msgpack
import numpy as np
import pytest
from payloads import sound

from fedbus import codec
from fedbus.algorithms import registry
from fedbus.algorithms.registry import KINDS
from fedbus.crypto.tensor import CipherTensor
from fedbus.errors import ConfigError, DecodeError
from fedbus.messages.envelope import Envelope

# A trial of 120,000 with another seed found nothing either.
CHANGES = 40
JOB: dict[str, Any] = {
    "name": "x",
    "algorithm": "fedavg",
    "label": "y",
    "parties": [{"party": "bob", "dataset": "rows"}, {"party": "alice", "dataset": "rows", "test": "held"}],
    "model": {"factory": "a:b", "arguments": {"width": 3}},
    "params": {"rounds": 5, "batch_size": 8, "learning_rate": 0.1},
}


def deep(depth: int) -> Any:
    """Lists within lists."""
    value: Any = None
    for _ in range(depth):
        value = [value]
    return value


ODD: list[Any] = [
    *(None, True, -1, 0, 2**63, 2**64 - 1, -(2**63), float("nan"), float("inf"), 1e308, "", "x" * 300, "\x00\x1b[2J"),
    *(b"", b"\xff", [], {}, [[]], {"": ""}, {b"a": 1}, deep(28), deep(200), deep(900), [1, "a", None]),
    *(CipherTensor(b"k" * 16, 0, 1, b"a"), np.arange(4.0).reshape(2, 2), np.array(3.0), np.zeros((0, 2**20))),
    *(msgpack.Timestamp(1, 0), msgpack.ExtType(1, b"\x93"), msgpack.ExtType(9, b"")),
    msgpack.ExtType(1, msgpack.packb(["<f8", [0, 2**31 - 1, 2**31 - 1, 2**31 - 1], b""])),
    msgpack.ExtType(1, msgpack.packb([["<f8"], [1], b""])),
    msgpack.ExtType(2, msgpack.packb([b"k" * 16, 0, 2**64 - 1, b""])),
    msgpack.ExtType(2, msgpack.packb(["k" * 16, 0, 1, "abc"])),
]


def body(kind: str) -> bytes:
    """A sound message of a kind."""
    envelope = Envelope("j-1", "bank", "shop", KINDS[kind])  # type: ignore[arg-type]  # only its name is looked at
    payload = {**sound(kind), "spec": JOB} if kind in ("submit", "start") else sound(kind)
    return codec.pack({**codec.header(envelope), "payload": payload})


def bytes_changed(message: bytes, generator: random.Random) -> bytes:
    """A few bytes flipped, taken out or put in."""
    changed = bytearray(message)
    for _ in range(generator.choice((1, 1, 2, 8))):
        place = generator.randrange(len(changed))
        match generator.randrange(3):
            case 0:
                changed[place] ^= 1 << generator.randrange(8)
            case 1:
                del changed[place : place + generator.randrange(1, 9)]
            case _:
                changed[place:place] = generator.randbytes(generator.randrange(1, 9))
        if not changed:
            break
    return bytes(changed)


def value_changed(message: bytes, generator: random.Random) -> bytes:
    """One value, at any depth, that is something else."""
    fields = msgpack.unpackb(message, ext_hook=msgpack.ExtType)
    # Most changes go into the payload.
    place, key = (fields, generator.choice(list(fields))) if generator.random() < 0.3 else (fields, "payload")
    while isinstance(place[key], dict | list) and place[key] and generator.random() < 0.8:
        place = place[key]
        key = generator.choice(list(place) if isinstance(place, dict) else range(len(place)))
    place[key] = generator.choice(ODD)
    return bytes(msgpack.packb(fields, default=codec._pack_extension))


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_message_is_read_or_refused(kind: str) -> None:
    generator, message = random.Random(kind), body(kind)
    assert codec.decode(message).kind == kind
    for _ in range(CHANGES):
        for change in (bytes_changed, value_changed):
            try:
                payload = codec.decode(change(message, generator)).payload
                if kind in ("submit", "start"):
                    registry.parse(getattr(payload, "spec", {}))
            except (DecodeError, ConfigError) as error:
                assert str(error)  # noqa: PT017
