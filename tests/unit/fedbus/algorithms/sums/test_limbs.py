"""Metrics in limbs against exact fractions; sums over as many parties as there may be."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbus.algorithms.sums.limbs import FRACTION_BITS, LIMBS, MAX_SUMMANDS, RANGE_BITS, decode, encode
from fedbus.errors import FixedPointOverflow

METRIC = st.floats(min_value=0, max_value=2.0**RANGE_BITS, exclude_max=True)


def test_by_hand() -> None:
    # 1.5 * 2^72 is 0x180 in the fifth limb of 16 bits; 2^-72 is the unit; 2.5 units round to even.
    rest = [0] * (LIMBS - 1)
    assert encode([1.5, 2.0**-72, 2.5 * 2.0**-72]).tolist() == [0, 0, 0, 0, 0x180, *rest[4:], *[1, *rest], *[2, *rest]]
    assert (LIMBS, FRACTION_BITS, RANGE_BITS) == (10, 72, 88)


def test_the_largest() -> None:
    largest = np.nextafter(2.0**88, 0)
    # 2^160 - 2^107.
    assert encode([largest]).tolist() == [0] * 6 + [0xF800, 0xFFFF, 0xFFFF, 0xFFFF]
    assert decode(encode([largest])) == [largest]


@given(st.lists(METRIC, min_size=1, max_size=20))
def test_sums_over_parties_are_exact(values: list[float]) -> None:
    total = np.sum([encode([value, 0.25]) for value in values], axis=0)
    exact = sum(Fraction(round(Fraction(value) * 2**72), 2**72) for value in values)
    assert decode(total) == [float(exact), 0.25 * len(values)]


def test_sums_of_the_most_parties() -> None:
    # Every limb full: no value has such limbs, but their sums are the largest that can come.
    assert decode(np.full(LIMBS, MAX_SUMMANDS * 0xFFFF)) == [float(Fraction(MAX_SUMMANDS * (2**160 - 1), 2**72))]
    assert MAX_SUMMANDS * 0xFFFF < 2**31
    value = 3.14159
    assert decode(encode([value]) * MAX_SUMMANDS) == [MAX_SUMMANDS * round(value * 2**72) / 2**72]


@pytest.mark.parametrize("value", [-1e-9, 2.0**88, float("nan"), float("inf"), -float("inf")])
def test_values_outside_the_range(value: float) -> None:
    with pytest.raises(FixedPointOverflow, match=r"metric 2 of 3 is .* lower params\.learning_rate"):
        encode([1.0, value, 2.0])


def test_sums_that_are_none() -> None:
    for sums in ([0] * 9 + [-1], [MAX_SUMMANDS * 0xFFFF + 1] + [0] * 9):
        with pytest.raises(FixedPointOverflow, match="not unmasked rightly"):
            decode(np.array(sums))
    with pytest.raises(ValueError, match="groups of 10"):
        decode(np.zeros(4, dtype=np.int64))


def test_nothing() -> None:
    assert decode(encode([])) == []
