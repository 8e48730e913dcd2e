"""The engine's child processes run these functions:
operations of keys and curve, in a form that other processes can name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from fedbus.crypto import curve, keys
from fedbus.crypto.paillier import Ints, PrivateKey, PublicKey
from fedbus.crypto.tensor import CipherTensor

Task = Callable[..., Any]


def timed(task: Task, *arguments: Any) -> tuple[Any, float]:
    """Return a task's result, and the processor time of this thread that it took, in seconds."""
    start = time.thread_time()
    result = task(*arguments)
    return result, time.thread_time() - start


@lru_cache(maxsize=8)
def _kept(key: PublicKey) -> PublicKey:
    """The key as this process met it first, with what it has computed of it since."""
    return key


def nothing() -> None:
    """Do nothing, which starts the process."""


def generate_keypair(bits: int) -> PrivateKey:
    """See `keys.generate_keypair`."""
    return keys.generate_keypair(bits)


def encrypt(key: PublicKey, values: Ints, scale: int, obfuscators: bytes) -> CipherTensor:
    """See `PublicKey.encrypt`."""
    return _kept(key).encrypt(values, scale, obfuscators)


def add_plain_obfuscated(key: PublicKey, tensor: CipherTensor, values: Ints, obfuscators: bytes) -> CipherTensor:
    """See `PublicKey.add_plain` and `PublicKey.obfuscate`."""
    key = _kept(key)
    return key.obfuscate(key.add_plain(tensor, values), obfuscators)


def obfuscate(key: PublicKey, tensor: CipherTensor, obfuscators: bytes) -> CipherTensor:
    """See `PublicKey.obfuscate`."""
    return _kept(key).obfuscate(tensor, obfuscators)


def load(key: PublicKey, tensor: CipherTensor) -> bytes:
    """See `PublicKey.load`."""
    return _kept(key).load(tensor)


def matvec(
    key: PublicKey, matrix: np.ndarray, tensor: CipherTensor, matrix_scale: int, loaded: bytes | None = None
) -> CipherTensor:
    """See `PublicKey.matvec`."""
    return _kept(key).matvec(matrix, tensor, matrix_scale, loaded)


def decrypt(private: PrivateKey, tensor: CipherTensor) -> list[int]:
    """See `PrivateKey.decrypt`."""
    return private.decrypt(tensor)


def decrypt_residues(private: PrivateKey, tensor: CipherTensor) -> list[int]:
    """See `PrivateKey.decrypt_residues`."""
    return private.decrypt_residues(tensor)


def check(key: PublicKey, tensor: CipherTensor, first: int) -> None:
    """See `PublicKey.check`."""
    _kept(key).check(tensor, first)


def obfuscators(key: PublicKey, count: int) -> bytes:
    """See `PublicKey.obfuscators`."""
    return _kept(key).obfuscators(count)


def hash_to_group(ids: Sequence[str], domain: bytes, group: str) -> bytes:
    """See `curve.hash_to_group`."""
    return curve.hash_to_group(ids, domain, group)


def blind(points: bytes, scalar: bytes, first: int, group: str) -> bytes:
    """See `curve.blind`."""
    return curve.blind(points, scalar, first, group)
