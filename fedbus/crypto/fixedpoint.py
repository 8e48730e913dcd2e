"""Real numbers are written as integers with a public number of fraction bits.

A value v is the integer round(v * 2**fraction_bits). The number of fraction bits is one for a whole vector and public,
so it tells nothing about any value. A product of two encoded values has the sum of their fraction bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fedbus.errors import FixedPointOverflow

# Two bits below the sign of int64: a sum or a difference of two encoded values still fits.
MAX_BITS = 62


def encode(values: npt.ArrayLike, fraction_bits: int) -> np.ndarray:
    """Turn real values into int64, rounded to nearest, half to even.

    Args:
        values: any shape, finite.
        fraction_bits: 0 to MAX_BITS.

    Returns:
        int64 of the same shape, each of a magnitude below 2**MAX_BITS.

    Raises:
        FixedPointOverflow: a value is not finite or its integer would not fit.
    """
    if not 0 <= fraction_bits <= MAX_BITS:
        raise ValueError(f"fraction bits are 0 to {MAX_BITS}, not {fraction_bits}")
    array = np.asarray(values, dtype=np.float64)
    with np.errstate(over="ignore"):
        scaled = np.rint(np.ldexp(array, fraction_bits))
    # Written so that NaN, which compares false with everything, is refused too.
    fits = np.abs(scaled) < 2.0**MAX_BITS
    if not fits.all():
        raise FixedPointOverflow(
            f"{int(np.count_nonzero(~fits))} of {array.size} values are not finite or not below "
            f"{2.0 ** (MAX_BITS - fraction_bits):g} in magnitude, the largest that {fraction_bits} fraction bits allow"
        )
    return scaled.astype(np.int64)


def decode(ints: Sequence[int] | np.ndarray, fraction_bits: int) -> np.ndarray:
    """Return the real values of integers of any size and either sign, each correctly rounded.

    Args:
        ints: (count,) integers; they may exceed both int64 and the range of float64 as long as the value does not.

    Returns:
        (count,) float64.

    Raises:
        FixedPointOverflow: a value is outside the range of float64.
    """
    if fraction_bits < 0:
        raise ValueError(f"fraction bits cannot be negative: {fraction_bits}")
    unit = 1 << fraction_bits
    try:
        # Integer true division rounds once; float(i) * 2.0**-bits would overflow or round twice.
        return np.array([int(value) / unit for value in ints], dtype=np.float64)
    except OverflowError as error:
        raise FixedPointOverflow("a decoded value is outside the range of float64") from error


def headroom_bits(rows: int, left_bits: int, right_bits: int, modulus: int) -> int:
    """Return how many bits stay free above a sum of `rows` products of `left_bits` by `right_bits`;
    negative where it overflows.

    Signed plaintexts lie in (-modulus/2, modulus/2).
    """
    largest = rows << (left_bits + right_bits)
    return (modulus // 2).bit_length() - 1 - largest.bit_length()


def check_range(rows: int, left_bits: int, right_bits: int, modulus: int) -> None:
    """Make sure that a sum of `rows` products cannot wrap around in Z_modulus; call it when a job is planned.

    Args:
        left_bits, right_bits: bits of the magnitudes of the two factors.

    Raises:
        FixedPointOverflow: rows * 2**left_bits * 2**right_bits >= modulus / 2.
    """
    if rows << (left_bits + right_bits + 1) >= modulus:
        raise FixedPointOverflow(
            f"a sum of {rows} products of {left_bits} by {right_bits} bits does not fit a key of "
            f"{modulus.bit_length()} bits: use fewer rows, fewer bits or a larger key"
        )
