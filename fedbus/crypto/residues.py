"""Real vectors are written as fixed point in Z_2^k, where sums wrap around and a uniform mask hides a value completely.

Encoding only; fedbus/crypto/secure_masks.py has the masks. Vectors are worked on in blocks, so that a large one needs
no more memory than itself and its result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from fedbus.errors import FixedPointOverflow

WIDTHS = (16, 32, 64)
MAX_FRACTION_BITS = 62
_UNSIGNED: dict[int, np.dtype[Any]] = {bits: np.dtype(f"<u{bits // 8}") for bits in WIDTHS}
_SIGNED: dict[int, np.dtype[Any]] = {bits: np.dtype(f"<i{bits // 8}") for bits in WIDTHS}
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_BLOCK = 1 << 16
# What float64 adds to weighted values: a relative 2**-53 where a weight is computed, and again where it is applied.
_WEIGHT_SLACK = 1 + Fraction(1, 1 << 51)


@dataclass(frozen=True, slots=True)
class FixedRing:
    """The integers modulo 2**bits, read as fixed point: a residue below 2**(bits-1) is positive, others are negative.

    Use `plan`, which sees to it that a sum does not wrap around; the ring itself only knows that one value does not.

    Attributes:
        bits: k, one of WIDTHS.
        fraction_bits: f, 0 to MAX_FRACTION_BITS; the value 1 is the residue 2**f.
        limit: the largest magnitude of a value before its weight.

    Raises:
        FixedPointOverflow: limit * 2**f + 1/2 >= 2**(k-1), so that a single value may not fit.
        ValueError: an attribute out of range.
    """

    bits: int
    fraction_bits: int
    limit: float

    def __post_init__(self) -> None:
        if self.bits not in WIDTHS:
            raise ValueError(f"a ring has {', '.join(map(str, WIDTHS))} bits, not {self.bits}")
        if not _fits(self.bits, _largest_sum(self.limit, self.fraction_bits, 1, False)):
            raise FixedPointOverflow(
                f"values up to {self.limit:g} with {self.fraction_bits} fraction bits do not fit {self.bits} bits"
            )

    @classmethod
    def plan(cls, limit: float, fraction_bits: int, parties: int, weighted: bool = True) -> FixedRing:
        """Find the smallest ring in which the sum of the parties' values cannot wrap around.

        The sum of the residues, read as signed, is right if its magnitude S is below 2**(k-1). A value v of weight w is
        encoded as the integer nearest to v * w * 2**f, at most 1/2 from it. So

            S <= sum |v * w| * 2**f + n/2,

        which is at most limit * 2**f + n/2 where the weights sum to at most 1, and n * (limit * 2**f + 1/2) where each
        is 1. A weight that is the quotient of two integers is rounded once in float64, and its product with v once
        more: each adds at most a relative 2**-53, the two together less than the 2**-51 that is added to the first
        term. A weight of 1 and powers of two round nothing. The bound is computed in exact fractions.

        Args:
            limit: the largest magnitude of a value; finite, positive.
            parties: n, how many values are summed.
            weighted: the weights are not negative and sum to at most 1; otherwise every weight is 1.

        Raises:
            FixedPointOverflow: 64 bits do not do.
            ValueError: an argument out of range.
        """
        if parties < 1:
            raise ValueError(f"a sum has one party or more, not {parties}")
        largest = _largest_sum(limit, fraction_bits, parties, weighted)
        for bits in WIDTHS:
            if _fits(bits, largest):
                return cls(bits, fraction_bits, limit)
        raise FixedPointOverflow(
            f"a sum over {parties} parties of values up to {limit:g} with {fraction_bits} fraction bits does not fit "
            f"{WIDTHS[-1]} bits: use a smaller limit or fewer fraction bits"
        )

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of residues: unsigned, little-endian, `bits` wide."""
        return _UNSIGNED[self.bits]

    def clip(self, values: np.ndarray) -> tuple[np.ndarray, int]:
        """Bring values of larger magnitude than the limit down to it, and count them.

        What is not finite stays as it is, and `encode` refuses it: it is a fault, not a large value.

        Args:
            values: float32 or float64, any shape.

        Returns:
            A new array of the same shape and dtype.

        Raises:
            ValueError: another dtype.
        """
        _check_floats(values)
        kind = values.dtype.type
        bound = kind(self.limit)
        if float(bound) > self.limit:
            # The nearest float32 may lie above the limit.
            bound = np.nextafter(bound, kind(0))
        outside = np.abs(values) > bound
        outside &= np.isfinite(values)
        clipped = values.copy()
        clipped[outside] = np.copysign(bound, values[outside])
        return clipped, int(np.count_nonzero(outside))

    def encode(self, values: np.ndarray, weight: float = 1.0) -> np.ndarray:
        """Turn weighted values into residues, rounded to nearest, half to even.

        Args:
            values: float32 or float64, any shape; finite, of magnitude `limit` at most.
            weight: 0 to 1.

        Returns:
            `dtype`, of the same shape.

        Raises:
            FixedPointOverflow: a value is not finite or larger than the limit; `clip` comes first where that may be.
            ValueError: another dtype, or a weight out of range.
        """
        _check_floats(values)
        if not 0 <= weight <= 1:
            raise ValueError(f"a weight is 0 to 1, not {weight}")
        residues = np.empty(values.shape, self.dtype)
        source, target = values.reshape(-1), residues.reshape(-1)
        scale = weight * 2.0**self.fraction_bits
        for start in range(0, len(source), _BLOCK):
            # In float64 from the start: the limit itself need not be a float32.
            block = source[start : start + _BLOCK].astype(np.float64)
            # Written so that NaN, which compares false with everything, is refused too.
            fits = np.abs(block) <= self.limit
            if not fits.all():
                raise FixedPointOverflow(
                    f"{int(np.count_nonzero(~fits))} of the values {start} to {start + len(block) - 1} are not finite "
                    f"or larger than the limit {self.limit:g}"
                )
            block *= scale
            np.rint(block, out=block)
            # By way of signed integers: what a negative float becomes as an unsigned one is not defined.
            target[start : start + _BLOCK] = block.astype(np.int64).astype(self.dtype)
        return residues

    def decode(self, residues: np.ndarray) -> np.ndarray:
        """Return the real values of residues, or of their sum, each correctly rounded.

        Args:
            residues: `dtype`, any shape.

        Returns:
            float64, of the same shape.

        Raises:
            ValueError: another dtype.
        """
        self._check(residues)
        values: np.ndarray = residues.view(_SIGNED[self.bits]).astype(np.float64)
        values *= 2.0**-self.fraction_bits
        return values

    def add(self, total: np.ndarray, residues: np.ndarray) -> None:
        """Add residues to a total in place, modulo 2**bits.

        Raises:
            ValueError: another dtype, or two shapes.
        """
        self._check(total)
        self._check(residues)
        if total.shape != residues.shape:
            raise ValueError(f"a total of shape {total.shape} and residues of shape {residues.shape}")
        np.add(total, residues, out=total)

    def _check(self, residues: np.ndarray) -> None:
        if residues.dtype != self.dtype:
            raise ValueError(f"residues are {self.dtype.str}, not {residues.dtype.str}")


def _check_floats(values: np.ndarray) -> None:
    if values.dtype not in _FLOATS:
        raise ValueError(f"values are float32 or float64, not {values.dtype}")


def _largest_sum(limit: float, fraction_bits: int, parties: int, weighted: bool) -> Fraction:
    """The bound on S that `FixedRing.plan` proves."""
    if not (math.isfinite(limit) and limit > 0):
        raise ValueError(f"a limit is finite and positive, not {limit}")
    if not 0 <= fraction_bits <= MAX_FRACTION_BITS:
        raise ValueError(f"fraction bits are 0 to {MAX_FRACTION_BITS}, not {fraction_bits}")
    largest = Fraction(limit) * (1 << fraction_bits)
    return (largest * _WEIGHT_SLACK if weighted else parties * largest) + Fraction(parties, 2)


def _fits(bits: int, largest: Fraction) -> bool:
    return largest < 1 << (bits - 1)
