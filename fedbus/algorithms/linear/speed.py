"""The time that this machine takes for one operation of each kind is measured here, in about a second."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fedbus.algorithms.linear.costs import Cost
from fedbus.crypto import curve
from fedbus.crypto.engine import Engine
from fedbus.crypto.tensor import CipherTensor

_LEAST_SECONDS = 0.1
_ENCRYPTED, _MOST_ROWS, _MOST_COLUMNS = 64, 8192, 8
_IDS = 2000


@dataclass(frozen=True, slots=True)
class Speed:
    """The processor seconds of one operation on one core.

    Attributes:
        cells: of an entry of a matrix, by its bits.
    """

    encryption: float
    decryption: float
    check: float
    cells: dict[int, float]
    hashing: float
    blinding: float

    def seconds(self, cost: Cost) -> float:
        """Return the processor seconds of a role's operations."""
        return (
            cost.encryptions * self.encryption
            + cost.decryptions * self.decryption
            + cost.checks * self.check
            + sum(count * self.cells[bits] for bits, count in cost.cells.items())
            + cost.hashes * self.hashing
            + cost.blindings * self.blinding
        )


def measure(key_bits: int, shapes: Mapping[int, tuple[int, int]]) -> Speed:
    """Measure this machine under a key of this length.

    Args:
        shapes: of matrices that multiply ciphertexts, (rows, columns), by the bits of their cells.
    """
    engine = Engine(0)
    private = engine.generate_keypair(key_bits)
    key = private.public
    # The same few ciphertexts again and again: it makes no difference to what a product takes.
    few = engine.encrypt(key, list(range(_ENCRYPTED)), 0)
    tensor = CipherTensor.join([few] * (_MOST_ROWS // _ENCRYPTED))
    # The group that an alignment takes with peers of this kind.
    ids, group = [f"id-{number}" for number in range(_IDS)], curve.groups()[0]
    points = engine.hash_to_group(ids, b"calibration", group)
    scalar = (1 + secrets.randbelow(2**250)).to_bytes(32, "little")

    def product(bits: int) -> float:
        high, (rows, columns) = 1 << (bits - 1), np.minimum(shapes[bits], (_MOST_ROWS, _MOST_COLUMNS)).tolist()
        matrix = np.random.default_rng(0).integers(-high, high, size=(rows, columns), dtype=np.int64)
        part = tensor.part(0, rows)
        return _each(lambda: engine.matvec(key, matrix, part, 0), matrix.size)

    return Speed(
        encryption=_each(lambda: engine.encrypt(key, list(range(_ENCRYPTED)), 0), _ENCRYPTED),
        decryption=_each(lambda: engine.decrypt_residues(private, few.part(0, 16)), 16),
        check=_each(lambda: engine.check(key, few), _ENCRYPTED),
        cells={bits: product(bits) for bits in shapes},
        hashing=_each(lambda: engine.hash_to_group(ids, b"calibration", group), _IDS),
        blinding=_each(lambda: engine.blind(points, scalar, group), _IDS),
    )


def _each(operation: Callable[[], object], count: int) -> float:
    """Processor seconds of one of the `count` things that an operation does."""
    operation()
    times, start = 0, time.process_time()
    while (spent := time.process_time() - start) < _LEAST_SECONDS:
        operation()
        times += 1
    return spent / times / count
