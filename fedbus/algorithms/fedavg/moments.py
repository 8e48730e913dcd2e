"""Parties add up means and variances without showing them,
as signed numbers that are exact far below a double's precision.

A column may have a deviation that is a minute part of its values, such as times in milliseconds, and a variance that is
the square of that. One entry of a vector has no room for both ends, so a number is cut into limbs of LIMB_BITS bits, an
entry each: the sum of a limb over many parties stays within 64 bits, and the sums of the limbs give the sum of the
numbers. Nobody has to say beforehand how large a deviation is.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

LIMBS = 4
LIMB_BITS = 48
# A double has 53 bits, so two values of a column differ by 2^-53 of its power of two at least. A variance is then above
# 2^-106 over the rows, of which there are at most 2^47 over all parties: 31 bits are left for how large it is.
FRACTION_BITS = 184
# Of one number in units of its column: of a squared difference of two values within 1.
LARGEST = 4
# Of the limbs of one number; sums over 100 parties stay below 2^55.
LARGEST_LIMB = 2.0**LIMB_BITS

# What a column that has one value is divided by: it is 0 then, whatever other rows have in it. Infinity would do it too
# and cannot be sent.
IMMENSE = float(np.finfo(np.float64).max)

_LOW = (1 << LIMB_BITS) - 1
_TOP = LIMBS - 1


def encode(values: Sequence[Fraction]) -> np.ndarray:
    """Cut round(value * 2**FRACTION_BITS) into limbs, the least first, the last one signed, as integers modulo 2**64.

    Args:
        values: (count,), of magnitude LARGEST at most.

    Returns:
        (LIMBS * count,) <u8.

    Raises:
        ValueError: a value is larger.
    """
    limbs = []
    for value in values:
        if abs(value) > LARGEST:
            raise ValueError(f"a number is within {LARGEST} on either side in units of its column")
        whole = round(value * (1 << FRACTION_BITS))
        limbs += [whole >> (LIMB_BITS * place) & _LOW for place in range(_TOP)]
        limbs.append(whole >> (LIMB_BITS * _TOP))
    return np.array(limbs, dtype=np.int64).astype("<u8")


def decode(sums: np.ndarray) -> list[Fraction]:
    """Return the sums of numbers from the sums of their limbs, (LIMBS * count,) <u8; they are exact."""
    groups = sums.astype(np.int64).reshape(-1, LIMBS).tolist()
    return [
        Fraction(sum(limb << (LIMB_BITS * place) for place, limb in enumerate(group)), 1 << FRACTION_BITS)
        for group in groups
    ]
