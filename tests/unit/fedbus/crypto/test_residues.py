"""Fixed point in Z_2^k: rounding, limits, and sums that do not wrap around at the bound nor before it."""

from __future__ import annotations

import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbus.crypto.residues import FixedRing
from fedbus.errors import FixedPointOverflow

RING = FixedRing(32, 16, 100.0)
FLOATS = [np.float32, np.float64]


def signed(residue: int, bits: int) -> int:
    return residue - (1 << bits) if residue >> (bits - 1) else residue


def test_known_answers() -> None:
    values = np.array([0.0, -0.0, 1.0, -1.0, 1.5 / 65536, 2.5 / 65536, -1.5 / 65536, 0.5 / 65536, 100.0, -100.0])
    expected = [0, 0, 65536, 2**32 - 65536, 2, 2, 2**32 - 2, 0, 6553600, 2**32 - 6553600]
    residues = RING.encode(values)
    assert residues.dtype.str == "<u4"
    assert residues.tolist() == expected
    assert RING.decode(residues).tolist() == [0, 0, 1, -1, 2 / 65536, 2 / 65536, -2 / 65536, 0, 100, -100]


@pytest.mark.parametrize(("bits", "dtype"), [(16, "<u2"), (32, "<u4"), (64, "<u8")])
def test_both_ends_of_a_ring_are_decoded(bits: int, dtype: str) -> None:
    ring = FixedRing(bits, 3, 1.0)
    assert ring.dtype.str == dtype
    ends = np.array([0, 1, 2 ** (bits - 1) - 1, 2 ** (bits - 1), 2**bits - 1], dtype=dtype)
    expected = [0, 1 / 8, float(2 ** (bits - 1) - 1) / 8, -(2.0 ** (bits - 4)), -1 / 8]
    decoded = ring.decode(ends)
    assert decoded.dtype == np.float64
    assert decoded.tolist() == expected


@given(
    st.sampled_from([16, 32, 64]),
    st.lists(st.floats(-1, 1, width=32), max_size=20),
    st.floats(0, 1),
    st.sampled_from(FLOATS),
)
def test_encodes_as_exact_fractions_say(bits: int, values: list[float], weight: float, kind: type) -> None:
    ring = FixedRing(bits, bits - 4, 1.0)
    encoded = ring.encode(np.array(values, dtype=kind), weight)
    # Python rounds a fraction half to even; the product with the weight is a float64 first.
    expected = [round(Fraction(value * weight) * 2 ** (bits - 4)) for value in values]
    assert [signed(int(residue), bits) for residue in encoded] == expected


# Blocks of the arithmetic have 2**16 values; one less and one more.
@pytest.mark.parametrize("count", [2**16 - 1, 2**16, 2**16 + 1, 2**17 + 1, 200_001])
def test_a_vector_longer_than_a_block_is_encoded_in_every_part(count: int) -> None:
    values = np.random.default_rng(1).uniform(50, 100, count)
    values[::2] *= -1
    expected = np.rint(values * 0.25 * 65536).astype(np.int64) % 2**32
    assert (RING.encode(values, 0.25) == expected).all()
    assert np.abs(RING.decode(RING.encode(values)) - values).max() <= 0.5 / 65536


@pytest.mark.parametrize("kind", FLOATS)
def test_any_shape_and_any_strides(kind: type) -> None:
    values = np.arange(-30, 30, dtype=kind).reshape(3, 4, 5)
    view = values[:, ::2, ::-1]
    encoded = RING.encode(view)
    assert encoded.shape == view.shape
    assert (RING.decode(encoded) == view).all()
    assert (RING.decode(RING.encode(values)[:, ::2, ::-1]) == view).all()
    assert RING.decode(RING.encode(np.array(2, dtype=kind))) == 2
    assert RING.encode(np.empty(0, dtype=kind)).shape == (0,)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, np.nextafter(100.0, 101), -100.00001])
@pytest.mark.parametrize("at", [0, 70_000, 100_000])
def test_what_does_not_fit_is_refused(bad: float, at: int) -> None:
    values = np.zeros(100_001)
    values[at] = bad
    with pytest.raises(FixedPointOverflow, match=r"1 of the values .* not finite or larger than the limit 100"):
        RING.encode(values)


def test_what_is_refused_is_named_by_place_only() -> None:
    values = np.zeros(100_001)
    values[[70_000, 70_001]] = 12345.678
    with pytest.raises(FixedPointOverflow, match="2 of the values 65536 to 100000 are") as caught:
        RING.encode(values)
    assert "12345" not in str(caught.value)


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("limit", [0.1, 0.3, 1.0, 1e-3])
def test_clipped_values_can_be_encoded(kind: type, limit: float) -> None:
    """The float32 nearest to 0.1 is above 0.1."""
    ring = FixedRing(32, 8, limit)
    values = np.array([2 * limit, -2 * limit, limit / 2, -0.0], kind)
    clipped, count = ring.clip(values)
    assert count == 2
    assert clipped.dtype == kind
    assert float(clipped[0]) <= limit < float(np.nextafter(clipped[0], kind(1e9)))
    assert clipped[1] == -clipped[0]
    assert (clipped[2:] == values[2:]).all()
    # What was given is not touched.
    assert values[0] == kind(2 * limit)
    ring.encode(clipped)


def test_clipping_leaves_faults_as_they_are() -> None:
    clipped, count = RING.clip(np.array([np.nan, np.inf, -np.inf, 101, -101, 100, -100]))
    np.testing.assert_array_equal(clipped, [np.nan, np.inf, -np.inf, 100, -100, 100, -100])
    assert count == 2


@given(
    st.floats(1e-6, 1e3),
    st.integers(0, 40),
    st.integers(1, 1000),
    st.booleans(),
)
def test_a_plan_is_the_smallest_ring_that_holds_the_sum(limit: float, bits: int, parties: int, weighted: bool) -> None:
    exact = Fraction(limit) * 2**bits * (1 if weighted else parties) + Fraction(parties, 2)
    ring = FixedRing.plan(limit, bits, parties, weighted)
    assert (ring.limit, ring.fraction_bits) == (limit, bits)
    assert exact < 2 ** (ring.bits - 1)
    # Half as wide, it would not, save for what weights are rounded by.
    assert ring.bits == 16 or exact * (1 + Fraction(1, 2**51)) >= 2 ** (ring.bits // 2 - 1)


@pytest.mark.parametrize(
    ("limit", "fraction_bits", "parties", "weighted", "bits"),
    [
        # limit * 2**f + n/2 against 2**15: a whole number of halves below it, and exactly at it.
        (32767.0 - 0.5, 0, 2, True, 16),
        (32767.0, 0, 2, True, 32),
        (32766.5, 0, 3, True, 32),
        ((2**15 - 51) / 16, 4, 100, True, 16),
        ((2**15 - 50) / 16, 4, 100, True, 32),
        # n * (limit * 2**f + 1/2).
        (16383.0, 0, 2, False, 16),
        (16383.5, 0, 2, False, 32),
        (326.0, 0, 100, False, 16),
        (327.25, 0, 100, False, 32),
        # The next two widths.
        ((2**31 - 2) / 2**20, 20, 2, True, 32),
        ((2**31 - 1) / 2**20, 20, 2, True, 64),
        (2.0**61, 0, 2, False, 64),
    ],
)
def test_plans_at_the_bound(limit: float, fraction_bits: int, parties: int, weighted: bool, bits: int) -> None:
    assert FixedRing.plan(limit, fraction_bits, parties, weighted).bits == bits


@pytest.mark.parametrize(("limit", "parties", "weighted"), [(2.0**63, 2, True), (2.0**62, 2, False), (1e300, 2, True)])
def test_what_64_bits_do_not_hold_is_refused(limit: float, parties: int, weighted: bool) -> None:
    with pytest.raises(FixedPointOverflow, match=f"a sum over {parties} parties .* does not fit 64 bits"):
        FixedRing.plan(limit, 0, parties, weighted)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("parties", [2, 3, 100])
@pytest.mark.parametrize("bits", [16, 32, 64])
def test_the_largest_sum_does_not_wrap_around(bits: int, parties: int, sign: int) -> None:
    """Unweighted, every value at the limit and every rounding away from zero."""
    limit = float(2 ** (bits - 1) // parties) - (1.5 if bits < 64 else 2.0**12)
    ring = FixedRing.plan(limit, 0, parties, weighted=False)
    assert ring.bits == bits
    total = np.zeros(3, ring.dtype)
    for _ in range(parties):
        ring.add(total, ring.encode(np.full(3, sign * limit)))
    assert ring.decode(total).tolist() == [float(sign * parties * round(limit))] * 3


@given(
    st.lists(st.integers(1, 10**6), min_size=2, max_size=30),
    st.sampled_from([1.0, -1.0]),
    st.sampled_from([(32760.0, 0), (1.0, 30), (1.7, 52), (2.0**62 * 1.99999, 0)]),
)
def test_a_weighted_sum_of_values_at_the_limit_does_not_wrap_around(
    counts: list[int], sign: float, case: tuple[float, int]
) -> None:
    limit, fraction_bits = case
    ring = FixedRing.plan(limit, fraction_bits, len(counts))
    total = np.zeros(1, ring.dtype)
    for count in counts:
        ring.add(total, ring.encode(np.array([sign * limit]), count / sum(counts)))
    error = abs(Fraction(float(ring.decode(total)[0])) - Fraction(sign * limit))
    assert error <= Fraction(len(counts), 2 ** (fraction_bits + 1)) + Fraction(limit) / 2**51


def test_weights_that_are_rounded_are_allowed_for() -> None:
    """Below the bound by less than weights may be rounded by, 64 bits are too few."""
    limit = float(2**63 - 2**10)
    with pytest.raises(FixedPointOverflow):
        FixedRing.plan(limit, 0, 2)
    assert FixedRing.plan(limit, 0, 1, weighted=False).bits == 64
    assert FixedRing.plan(float(2**63 - 2**13), 0, 2).bits == 64


def test_adding_wraps_around_in_place() -> None:
    total = np.array([2**32 - 1, 5], "<u4")
    RING.add(total, np.array([2, 6], "<u4"))
    assert total.tolist() == [1, 11]


def test_arguments_are_checked() -> None:
    for kind in (np.int64, np.float16, ">f8"):
        with pytest.raises(ValueError, match="float32 or float64"):
            RING.encode(np.zeros(2, kind))
        with pytest.raises(ValueError, match="float32 or float64"):
            RING.clip(np.zeros(2, kind))
    for weight in (-0.1, 1.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="a weight is 0 to 1"):
            RING.encode(np.zeros(2), weight)
    for dtype in ("<i4", "<u8", ">u4"):
        with pytest.raises(ValueError, match="residues are <u4"):
            RING.decode(np.zeros(2, dtype))
        with pytest.raises(ValueError, match="residues are <u4"):
            RING.add(np.zeros(2, "<u4"), np.zeros(2, dtype))
    with pytest.raises(ValueError, match=r"shape \(2,\) and residues of shape \(1,\)"):
        RING.add(np.zeros(2, "<u4"), np.zeros(1, "<u4"))
    for limit in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="finite and positive"):
            FixedRing.plan(limit, 4, 2)
    for fraction_bits in (-1, 63):
        with pytest.raises(ValueError, match="fraction bits are 0 to 62"):
            FixedRing.plan(1e-9, fraction_bits, 2)
    with pytest.raises(ValueError, match="one party or more"):
        FixedRing.plan(1.0, 4, 0)
    with pytest.raises(ValueError, match="a ring has 16, 32, 64 bits, not 8"):
        FixedRing(8, 2, 1.0)
    with pytest.raises(FixedPointOverflow, match="do not fit 16 bits"):
        FixedRing(16, 0, 32767.5)
    assert FixedRing(16, 0, 32767.25).encode(np.array([32767.25])).tolist() == [32767]


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("bits", [32, 64])
def test_encoding_takes_no_more_than_three_times_the_input(kind: type, bits: int) -> None:
    values = np.ones(2_000_000, kind)
    tracemalloc.start()
    FixedRing(bits, 16, 1.0).encode(values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * values.nbytes
