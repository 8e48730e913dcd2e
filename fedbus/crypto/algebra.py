"""This is the rest of linear algebra on encrypted vectors:
differences, multiples, and products with a matrix from the left.

Nothing here obfuscates: do so before a result leaves the process.
"""

from __future__ import annotations

from operator import index

import gmpy2
import numpy as np

from fedbus.crypto.engine import Engine
from fedbus.crypto.integers import pack, unpack
from fedbus.crypto.paillier import Ints, PublicKey
from fedbus.crypto.tensor import CipherTensor


def scale(key: PublicKey, tensor: CipherTensor, ints: Ints, ints_scale: int = 0) -> CipherTensor:
    """Multiply each element by an integer.

    Args:
        ints: (len(tensor),) signed integers of `ints_scale` fraction bits.

    Raises:
        WrongKey, InvalidCiphertext: the vector is not of this key.
        ValueError: lengths differ.
    """
    key.check(tensor)
    if len(ints) != len(tensor):
        raise ValueError(f"{len(ints)} integers cannot multiply {len(tensor)} ciphertexts")
    numbers = unpack(tensor.blob, tensor.width)
    powers = [gmpy2.powmod(c, index(factor), key.nsquare) for c, factor in zip(numbers, ints, strict=True)]
    return CipherTensor(tensor.fingerprint, tensor.scale + ints_scale, tensor.width, pack(powers, tensor.width))


def subtract(key: PublicKey, a: CipherTensor, b: CipherTensor) -> CipherTensor:
    """Compute a - b, element by element; raises as `PublicKey.add`."""
    return key.add(a, scale(key, b, [-1] * len(b)))


def forward(
    engine: Engine, key: PublicKey, matrix: np.ndarray, tensor: CipherTensor, matrix_scale: int
) -> CipherTensor:
    """Multiply a matrix by an encrypted vector, as X[[w]]; for the transpose see `PublicKey.matvec`.

    Args:
        matrix: (rows, len(tensor)) int64 with `matrix_scale` fraction bits.
    """
    return engine.matvec(key, np.ascontiguousarray(matrix.T), tensor, matrix_scale)
