"""Means and deviations that parties add up, against exact fractions: small deviations on large offsets above all."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbus.algorithms.fedavg import moments as limbs
from fedbus.algorithms.fedavg.tasks import exponent_of
from parties.fedavg import moments

RANDOM = np.random.default_rng(11)
COLUMNS = {
    "unix time in ms within seconds": 1.7e12 + RANDOM.normal(scale=500, size=60),
    "unit deviation on 1.7e12": 1.7e12 + RANDOM.normal(size=60),
    "0 or 1 above 1e15": 1e15 + RANDOM.integers(0, 2, size=60),
    "one last bit in a column": np.append(np.full(59, 1.0), np.nextafter(1.0, 2)),
    "minute": 1e-12 * RANDOM.normal(size=60),
    "below the square root of the least double": 1e-200 * RANDOM.normal(size=60),
    "huge": 1e150 * RANDOM.normal(size=60),
    "one outlier": np.append(RANDOM.normal(size=59), 1e9),
    "first row is the outlier": np.append(1e9, RANDOM.normal(size=59)),
    "ordinary": RANDOM.normal(size=60),
}


def exact(values: np.ndarray) -> tuple[Fraction, float]:
    """Mean, and deviation, of numbers by fractions."""
    numbers = [Fraction(float(value)) for value in values]
    mean = sum(numbers, Fraction(0)) / len(numbers)
    unit = Fraction(2) ** exponent_of(float(np.abs(values - float(mean)).max()))
    variance = sum((((number - mean) / unit) ** 2 for number in numbers), Fraction(0)) / len(numbers)
    return mean, math.sqrt(variance) * float(unit)


def summed(parts: list[np.ndarray]) -> tuple[float, float]:
    """Mean and deviation of a column whose rows lie at several parties, as they and the coordinator find them."""
    rows = sum(map(len, parts))
    exponent = max(exponent_of(float(np.abs(part).max())) for part in parts)
    unit = Fraction(2) ** exponent
    shares = [Fraction(len(part), rows) for part in parts]
    total = sum(
        limbs.encode([moments.means(part[:, None])[0] / unit * share])
        for part, share in zip(parts, shares, strict=True)
    )
    mean = float(limbs.decode(total)[0] * unit)
    exponents = np.array([exponent])
    total = sum(
        limbs.encode(
            [Fraction(float(each[0])) * share for each in moments.squares(part[:, None], np.array([mean]), exponents)]
        )
        for part, share in zip(parts, shares, strict=True)
    )
    square, rest = limbs.decode(total)
    return mean, math.sqrt(square - rest**2) * float(unit)


@pytest.mark.parametrize("values", COLUMNS.values(), ids=COLUMNS.keys())
def test_the_sums_of_three_parties_are_those_of_the_pooled_rows(values: np.ndarray) -> None:
    mean, deviation = exact(values)
    found_mean, found = summed([values[:7], values[7:30], values[30:]])
    # As near as a double comes to it, beside what the deviation makes of no account.
    assert abs(found_mean - mean) <= np.spacing(abs(float(mean))) / 2 + 1e-12 * deviation
    assert found == pytest.approx(deviation, rel=1e-9)
    pooled_mean, pooled = moments.fit(values[:, None])
    assert (pooled_mean[0], pooled[0]) == pytest.approx((found_mean, found), rel=1e-12)


@pytest.mark.parametrize("value", [0.1, 1.7e12, -1e-300, 0.0, 1 / 3])
def test_a_column_of_one_value_has_no_deviation_at_all(value: float) -> None:
    for sizes in ((1, 2, 4), (49, 49, 2), (60, 61, 7)):
        mean, deviation = summed([np.full(size, value) for size in sizes])
        assert (mean, deviation) == (value, 0.0)
    mean, scale = moments.fit(np.full((10, 1), value))
    assert (mean[0], scale[0]) == (value, limbs.IMMENSE)


def test_a_column_of_one_value_at_one_party_only_varies() -> None:
    mean, deviation = summed([np.full(10, 0.1), np.full(30, 0.3)])
    assert mean == pytest.approx(0.25)
    assert deviation == pytest.approx(math.sqrt(0.25 * 0.75) * 0.2)


@given(st.lists(st.floats(-4, 4), min_size=1, max_size=100))
def test_limbs_of_many_parties_add_up_to_the_sum(values: list[float]) -> None:
    total = sum((limbs.encode([Fraction(value), Fraction(-value)]) for value in values), np.zeros(8, "<u8"))
    wanted = sum((Fraction(round(Fraction(value) * 2**184), 2**184) for value in values), Fraction(0))
    assert limbs.decode(total) == [wanted, -wanted]


def test_no_party_sends_more_than_fits() -> None:
    with pytest.raises(ValueError, match="within 4"):
        limbs.encode([Fraction(5)])
