"""Multi-exponentiation against powers taken one by one."""

from __future__ import annotations

import gmpy2
import numpy as np
import pytest
from gmpy2 import mpz
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbus.crypto import multiexp
from fedbus.crypto.multiexp import Plan
from fedbus.errors import InvalidCiphertext
from matrices import matrices

INT64 = np.iinfo(np.int64)
# Two primes; small, so that wrong exponents cannot hide behind slow arithmetic.
P, Q = 2**89 - 1, 2**107 - 1
NSQUARE = mpz(P * Q) ** 2


def ciphertexts(rows: int, seed: int = 1) -> list[mpz]:
    random = np.random.default_rng(seed)
    return [mpz(int.from_bytes(random.bytes(49), "big")) % NSQUARE for _ in range(rows)]


def one_by_one(matrix: np.ndarray, numbers: list[mpz]) -> list[mpz]:
    results = []
    for column in matrix.T.tolist():
        result = mpz(1)
        for number, exponent in zip(numbers, column, strict=True):
            result = result * gmpy2.powmod(number, exponent, NSQUARE) % NSQUARE
        results.append(result)
    return results


@given(matrices())
def test_equals_powers_taken_one_by_one(matrix: np.ndarray) -> None:
    numbers = ciphertexts(len(matrix))
    assert multiexp.matvec(matrix, numbers, NSQUARE) == one_by_one(matrix, numbers)


@given(matrices(), st.sampled_from([3, 5, 7, 41, 257]), st.integers(1, 4))
@settings(max_examples=60)
def test_every_plan_gives_the_same(matrix: np.ndarray, radix: int, axes: int) -> None:
    numbers = ciphertexts(len(matrix))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiexp, "plan_for", lambda *_: Plan(radix, axes if radix < 41 else min(axes, 2)))
        assert multiexp.matvec(matrix, numbers, NSQUARE) == one_by_one(matrix, numbers)


@pytest.mark.parametrize(
    "column",
    [
        [INT64.max, INT64.min, -1, 1],
        [INT64.min, 0, 0, 0],
        [INT64.max, 0, 0, 0],
        [INT64.min + 1, INT64.max, INT64.max, INT64.max],
        [-1, -1, -1, -1],
    ],
)
def test_the_whole_range_of_int64(column: list[int]) -> None:
    matrix = np.array([column, column[::-1]], dtype=np.int64).T
    numbers = ciphertexts(4)
    assert multiexp.matvec(matrix, numbers, NSQUARE) == one_by_one(matrix, numbers)


def test_a_large_matrix_takes_several_columns_in_a_pass() -> None:
    random = np.random.default_rng(3)
    matrix = random.integers(-(2**15), 2**15, size=(4000, 3))
    matrix[:, 1] = 0
    matrix[::2, 2] = 0
    numbers = ciphertexts(4000)
    bounds = np.abs(matrix).max(axis=0).tolist()
    assert multiexp.plan_for(40_000, bounds).axes > 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiexp, "plan_for", lambda *_: Plan(41, 2))
        result = multiexp.matvec(matrix, numbers, NSQUARE)
    assert result == one_by_one(matrix, numbers)
    assert result[1] == 1


def test_a_zero_column_or_no_row_is_the_ciphertext_one() -> None:
    assert multiexp.matvec(np.zeros((5, 2), np.int64), ciphertexts(5), NSQUARE) == [1, 1]
    assert multiexp.matvec(np.zeros((0, 3), np.int64), [], NSQUARE) == [1, 1, 1]
    assert multiexp.matvec(np.zeros((5, 0), np.int64), ciphertexts(5), NSQUARE) == []


def test_a_larger_matrix_gets_larger_windows() -> None:
    bounds = [2**15] * 20

    def buckets(rows: int) -> int:
        plan = multiexp.plan_for(rows, bounds)
        return plan.radix**plan.axes

    assert buckets(20) < buckets(400) < buckets(10_000) < buckets(1_000_000)


def test_the_plan_for_a_gradient_takes_under_two_multiplications_a_cell() -> None:
    """10,000 x 20 of 16 bits: three digits of radix 41 a cell, two digits a multiplication."""
    assert multiexp.plan_for(10_000, [2**15] * 20) == Plan(41, 2)


@pytest.mark.parametrize("matrix", [np.zeros((3, 2), np.int64), np.zeros(2, np.int64), np.zeros((2, 2))])
def test_shapes_and_types_that_do_not_fit_are_refused(matrix: np.ndarray) -> None:
    with pytest.raises(ValueError, match="does not fit 2 ciphertexts"):
        multiexp.matvec(matrix, ciphertexts(2), NSQUARE)


def test_a_number_that_is_no_unit_is_refused_where_it_must_be_inverted() -> None:
    with pytest.raises(InvalidCiphertext):
        multiexp.matvec(np.array([[-1]]), [mpz(P)], NSQUARE)
