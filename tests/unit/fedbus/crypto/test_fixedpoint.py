"""Fixed point: exactness, rounding, and that nothing overflows silently."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbus.crypto import fixedpoint
from fedbus.errors import FixedPointOverflow

BITS = st.integers(0, fixedpoint.MAX_BITS)


@given(st.lists(st.floats(-1e4, 1e4), max_size=8), st.integers(0, 48))
def test_encoding_is_within_half_a_unit(values: list[float], bits: int) -> None:
    encoded = fixedpoint.encode(values, bits)
    assert encoded.dtype == np.int64
    for value, integer in zip(values, encoded.tolist(), strict=True):
        assert abs(Fraction(value) * 2**bits - integer) <= Fraction(1, 2)


@given(st.integers(-(2**52), 2**52), BITS)
def test_what_a_float_holds_comes_back_exactly(integer: int, bits: int) -> None:
    value = integer / 2**bits
    assert fixedpoint.decode(fixedpoint.encode([value], bits), bits).tolist() == [value]


@given(st.integers(-(2**2100), 2**2100), st.integers(1100, 1300))
def test_decoding_rounds_once_beyond_the_range_of_float(integer: int, bits: int) -> None:
    assert fixedpoint.decode([integer], bits).tolist() == [float(Fraction(integer, 2**bits))]


def test_halves_go_to_even() -> None:
    assert fixedpoint.encode([0.5, 1.5, 2.5, -0.5, -1.5], 0).tolist() == [0, 2, 2, 0, -2]


def test_shape_is_kept() -> None:
    assert fixedpoint.encode(np.ones((3, 2)), 4).tolist() == [[16, 16]] * 3
    assert fixedpoint.encode([], 4).tolist() == []


def test_the_largest_magnitude_is_the_stated_one() -> None:
    largest = np.nextafter(4.0, 0.0)
    assert fixedpoint.encode([largest, -largest], 60).tolist() == [int(largest * 2**60), -int(largest * 2**60)]
    with pytest.raises(FixedPointOverflow, match="1 of 2 values are not finite or not below 4 in magnitude"):
        fixedpoint.encode([1.0, 4.0], 60)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, -(2.0**62)])
def test_what_does_not_fit_is_refused(value: float) -> None:
    with pytest.raises(FixedPointOverflow):
        fixedpoint.encode([value], 0)
    with pytest.raises(FixedPointOverflow):
        fixedpoint.encode([value], fixedpoint.MAX_BITS)


def test_a_decoded_value_beyond_float_is_refused() -> None:
    with pytest.raises(FixedPointOverflow):
        fixedpoint.decode([1 << 1100], 0)


@pytest.mark.parametrize("bits", [-1, fixedpoint.MAX_BITS + 1])
def test_fraction_bits_have_a_range(bits: int) -> None:
    with pytest.raises(ValueError, match="fraction bits"):
        fixedpoint.encode([1.0], bits)


def test_the_range_of_a_sum_is_exact() -> None:
    """The largest sum is 8 * 2**4 * 2**5 = 2**12: it needs a modulus above 2**13."""
    fixedpoint.check_range(8, 4, 5, 2**13 + 1)
    with pytest.raises(FixedPointOverflow, match="8 products of 4 by 5 bits does not fit a key of 14 bits"):
        fixedpoint.check_range(8, 4, 5, 2**13)


@given(st.integers(1, 10**6), st.integers(1, 64), st.integers(1, 64), st.integers(64, 256))
def test_headroom_tells_how_much_wider_a_factor_may_be(rows: int, left: int, right: int, bits: int) -> None:
    modulus = 2**bits + 1
    headroom = fixedpoint.headroom_bits(rows, left, right, modulus)
    if headroom >= 0:
        fixedpoint.check_range(rows, left, right + headroom, modulus)
    if right + headroom + 2 >= 0:
        with pytest.raises(FixedPointOverflow):
            fixedpoint.check_range(rows, left, right + headroom + 2, modulus)


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), max_size=6), st.integers(0, 40))
def test_a_product_has_the_fraction_bits_of_both_factors(pairs: list[tuple[float, float]], bits: int) -> None:
    """Every factor is off by half a unit at the most, and so is the sum of products in proportion."""
    left, right = (fixedpoint.encode([pair[side] for pair in pairs], bits).tolist() for side in (0, 1))
    total = sum(x * y for x, y in zip(left, right, strict=True))
    (decoded,) = fixedpoint.decode([total], 2 * bits)
    exact = sum(Fraction(x) * Fraction(y) for x, y in pairs)
    unit = Fraction(1, 2 ** (bits + 1))
    bound = sum((abs(Fraction(x)) + abs(Fraction(y))) * unit + unit**2 for x, y in pairs)
    assert abs(Fraction(decoded) - exact) <= bound + abs(exact) / 2**52


@pytest.mark.parametrize("value", [np.iinfo(np.int64).max, np.iinfo(np.int64).min, 0, 1, -1])
def test_integers_of_numpy_are_decoded_whole(value: int) -> None:
    assert fixedpoint.decode(np.array([value], dtype=np.int64), 10).tolist() == [value / 2**10]
    assert fixedpoint.decode([], 10).tolist() == []
