"""How much a message says, without what it says: its fields with their sizes, for the audit log."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from fedbus.crypto.tensor import CipherTensor
from fedbus.messages.envelope import Message


def shape_of(message: Message) -> str:
    """The fields of a message with the size of each, as "residues bytes[4096], seconds number"."""
    return ", ".join(f"{field.name} {_size(getattr(message, field.name))}" for field in dataclasses.fields(message))


def _size(value: Any) -> str:
    match value:
        case CipherTensor():
            return f"ciphertexts[{len(value)}]"
        case np.ndarray():
            return f"array[{'x'.join(map(str, value.shape))}]"
        case bytes() | bytearray() | memoryview():
            return f"bytes[{len(value)}]"
        case str():
            return f"text[{len(value)}]"
        case list() | tuple() | set() | frozenset():
            return f"list[{len(value)}]"
        case dict():
            return f"map[{len(value)}]"
        case None:
            return "nothing"
        case bool():
            return "truth"
        case _:
            return "number"
