"""Numbers side by side in one plaintext: what goes in comes out, whatever its sign, and sums stay in their slots."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbus.crypto.packing import Slots
from fedbus.errors import CryptoError

SLOTS = Slots(20, 3)
numbers = st.integers(-(1 << 19) + 1, (1 << 19) - 1)


@given(st.lists(st.lists(numbers, min_size=7, max_size=7), min_size=1, max_size=5))
def test_rows_are_found_again(rows: list[list[int]]) -> None:
    packed = SLOTS.pack(rows)
    assert len(packed) == SLOTS.packs(7) == 3
    assert [SLOTS.unpack(row, 7) for row in zip(*packed, strict=True)] == rows


@given(st.lists(st.tuples(st.integers(-100, 100), st.lists(st.integers(-90, 90), min_size=5, max_size=5)), max_size=50))
def test_sums_of_products_stay_in_their_slots(terms: list[tuple[int, list[int]]]) -> None:
    totals = [0, 0]
    for factor, row in terms:
        packed = [pack[0] for pack in SLOTS.pack([row])]
        totals = [total + factor * plaintext for total, plaintext in zip(totals, packed, strict=True)]
    expected = [sum(factor * row[column] for factor, row in terms) for column in range(5)]
    assert SLOTS.unpack(totals, 5) == expected


def test_a_matrix_of_integers_is_packed_as_its_rows_are() -> None:
    matrix = np.array([[1, -2, 3, -4], [5, 6, -7, -8]], dtype=np.int64)
    assert SLOTS.pack(matrix) == SLOTS.pack(matrix.tolist())


@pytest.mark.parametrize("numbers", [3, 4])
def test_an_overflow_is_noticed(numbers: int) -> None:
    with pytest.raises(CryptoError, match="more than its slots"):
        SLOTS.unpack([1 << 60] * SLOTS.packs(numbers), numbers)


def test_slots_fit_the_key() -> None:
    slots = Slots.fit(113, 2048)
    assert slots.count * 113 < 2047
    assert (slots.count + 1) * 113 >= 2046
    assert slots.packs(0) == 0
    with pytest.raises(CryptoError, match="longer key"):
        Slots.fit(600, 512)
