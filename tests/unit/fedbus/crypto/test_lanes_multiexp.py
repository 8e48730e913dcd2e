"""The native multi-exponentiation, by buckets and by tables, against the portable one."""

from __future__ import annotations

import numpy as np
import pytest
from gmpy2 import mpz
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbus.crypto import lanes_multiexp, multiexp
from fedbus.crypto import tier as tiers
from fedbus.crypto.integers import pack, unpack
from fedbus.crypto.multiexp import Plan
from fedbus.crypto.ring import Ring
from fedbus.errors import InvalidCiphertext
from matrices import matrices

# There is none in the portable tier.
pytestmark = [
    pytest.mark.usefixtures("tier"),
    pytest.mark.parametrize("tier", [tiers.NATIVE], indirect=True),
]

INT64 = np.iinfo(np.int64)
P, Q = 2**89 - 1, 2**107 - 1
N, WIDTH = P * Q, 50
NSQUARE = mpz(N) ** 2
WAYS = ["chosen", "buckets", "tables"]


@pytest.fixture(scope="module")
def ring(tier: str) -> Ring:
    return Ring(N)


def ciphertexts(rows: int) -> list[mpz]:
    random = np.random.default_rng(1)
    return [mpz(int.from_bytes(random.bytes(49), "big")) % NSQUARE for _ in range(rows)]


def both(ring: Ring, matrix: np.ndarray, way: str = "chosen") -> tuple[list[mpz], list[mpz]]:
    numbers = ciphertexts(len(matrix))
    with pytest.MonkeyPatch.context() as patch:
        if way != "chosen":
            cost = 0.0 if way == "tables" else float("inf")
            patch.setattr(lanes_multiexp, "_window", lambda *_: (5, cost))
        blob = lanes_multiexp.matvec(ring, matrix, pack(numbers, WIDTH), NSQUARE, WIDTH)
    return unpack(blob, WIDTH), multiexp.matvec(matrix, numbers, NSQUARE)


@given(matrices(), st.sampled_from(WAYS))
@settings(deadline=None)
def test_equals_the_portable(ring: Ring, matrix: np.ndarray, way: str) -> None:
    ours, theirs = both(ring, matrix, way)
    assert ours == theirs


@given(matrices(), st.sampled_from([3, 5, 7, 41]), st.integers(1, 4), st.sampled_from([1, 7, 1 << 17]))
@settings(max_examples=60, deadline=None)
def test_every_plan_and_every_batch_gives_the_same(
    ring: Ring, matrix: np.ndarray, radix: int, axes: int, batch: int
) -> None:
    plan = Plan(radix, axes if radix < 41 else min(axes, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiexp, "cheapest", lambda *_: (plan, 1.0))
        patch.setattr(lanes_multiexp, "_BATCH", batch)
        ours, theirs = both(ring, matrix, "buckets")
    assert ours == theirs


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("column", [[INT64.max, INT64.min, -1, 1], [INT64.min] * 4, [0] * 4, [-1] * 4, [5, 5, 5, 5]])
def test_the_whole_range_of_int64(ring: Ring, column: list[int], way: str) -> None:
    matrix = np.array([column, column[::-1], column], dtype=np.int64).T
    ours, theirs = both(ring, matrix, way)
    assert ours == theirs


def test_few_ciphertexts_and_many_columns_go_by_tables(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    matrix = random.integers(-(2**15), 2**15, size=(5, 3000))
    monkeypatch.setattr(lanes_multiexp, "_by_buckets", None)
    ours, theirs = both(ring, matrix)
    assert ours == theirs


def test_many_ciphertexts_go_by_buckets(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    matrix = random.integers(-(2**15), 2**15, size=(4000, 7))
    matrix[:, 1] = 0
    matrix[::2, 2] = 0
    monkeypatch.setattr(lanes_multiexp, "_by_tables", None)
    ours, theirs = both(ring, matrix)
    assert ours == theirs
    assert ours[1] == 1


def test_shapes_and_types_that_do_not_fit_are_refused(ring: Ring) -> None:
    for matrix in (np.zeros((3, 2), np.int64), np.zeros(2, np.int64), np.zeros((2, 2))):
        with pytest.raises(ValueError, match="does not fit 2 ciphertexts"):
            lanes_multiexp.matvec(ring, matrix, bytes(2 * WIDTH), NSQUARE, WIDTH)


@pytest.mark.parametrize("way", WAYS)
def test_a_number_that_is_no_unit_is_refused_where_it_must_be_inverted(ring: Ring, way: str) -> None:
    matrix = np.array([[-1, 1, -1]])
    with pytest.MonkeyPatch.context() as patch:
        if way != "chosen":
            patch.setattr(lanes_multiexp, "_window", lambda *_: (5, 0.0 if way == "tables" else float("inf")))
        with pytest.raises(InvalidCiphertext):
            lanes_multiexp.matvec(ring, matrix, pack([mpz(P)], WIDTH), NSQUARE, WIDTH)
