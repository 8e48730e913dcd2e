"""Parties add up metrics without showing them: real numbers are written as integers inside a vector summed modulo 2**k.

A loss needs more bits than an entry of an update. It is cut into limbs of LIMB_BITS bits, each an entry of its own: the
sum of a limb over MAX_SUMMANDS parties is below 2**31, and the sums of the limbs give the sum of the numbers exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedbus.errors import FixedPointOverflow

LIMBS = 10
LIMB_BITS = 16
# The loss of a label of 1e-9 is 1e-18, that of one just within what a table may have 2^84.
FRACTION_BITS = 72
RANGE_BITS = 88
MAX_SUMMANDS = 32_767

_LARGEST_LIMB = (1 << LIMB_BITS) - 1


def encode(values: Sequence[float]) -> np.ndarray:
    """Cut round(value * 2**FRACTION_BITS), half to even, into limbs.

    Args:
        values: (count,), each from 0 to below 2**RANGE_BITS.

    Returns:
        (LIMBS * count,) int64 from 0 to 2**LIMB_BITS - 1: the limbs of the first value, the least first, then those of
        the second.

    Raises:
        FixedPointOverflow: a value is negative, too large or not finite; says which, not its value.
    """
    array = np.asarray(values, dtype=np.float64)
    # Written so that NaN, which compares false with everything, is refused too.
    fits = (array >= 0) & (array < 2.0**RANGE_BITS)
    if not fits.all():
        raise FixedPointOverflow(
            f"metric {int(np.argmin(fits)) + 1} of {len(array)} is not a finite number from 0 to 2**{RANGE_BITS};"
            " a loss so large comes of training that diverges or of a label far from 1; lower params.learning_rate or"
            " divide the label"
        )
    # Wider than 64 bits: Python's integers.
    wholes = [int(whole) for whole in np.rint(np.ldexp(array, FRACTION_BITS))]
    limbs = [whole >> (LIMB_BITS * place) & _LARGEST_LIMB for whole in wholes for place in range(LIMBS)]
    return np.array(limbs, dtype=np.int64)


def decode(sums: np.ndarray) -> list[float]:
    """Return the sums of values from the sums of their limbs over up to MAX_SUMMANDS parties, each correctly rounded.

    Args:
        sums: (LIMBS * count,) int64.

    Raises:
        FixedPointOverflow: a sum is none of limbs of so many parties, so the vector was not unmasked rightly.
    """
    if len(sums) % LIMBS:
        raise ValueError(f"limbs come in groups of {LIMBS}, not {len(sums)}")
    if ((sums < 0) | (sums > MAX_SUMMANDS * _LARGEST_LIMB)).any():
        raise FixedPointOverflow("a sum of metrics is outside its range; the sum was not unmasked rightly")
    groups = np.asarray(sums).reshape(-1, LIMBS).tolist()
    # Python's integers are exact, and their division rounds once.
    return [
        sum(limb << (LIMB_BITS * place) for place, limb in enumerate(group)) / (1 << FRACTION_BITS) for group in groups
    ]
