"""What participants of solver `gram` derive from public sizes: precision, room for sums and masks, who encrypts."""

from __future__ import annotations

from math import log2

import pytest

from fedbus.algorithms import registry
from fedbus.algorithms.linear.layout import arrange, lay_out, measured_bits
from fedbus.crypto.fixedpoint import MAX_BITS
from fedbus.job import JobSpec


def specification(hosts: int = 1, **params: object) -> JobSpec:
    return registry.parse(
        {
            "name": "test",
            "algorithm": "vertical-linear",
            "guest": {"party": "shop", "dataset": "rows", "label": "y"},
            "hosts": [{"party": f"bank-{number}", "dataset": "rows"} for number in range(hosts)],
            "params": params,
        }
    )


@pytest.mark.parametrize(
    ("rows", "guest", "host"), [(20, 2, 1), (800, 5, 7), (100_000, 31, 300), (10_000_000, 1000, 3000)]
)
def test_no_slot_can_overflow_and_no_mask_is_short(rows: int, guest: int, host: int) -> None:
    layout = lay_out(specification(), rows, {"shop": guest, "bank-0": host})
    room = layout.slots.width - 1
    # Sums of products of two columns of norm sqrt(rows), a mask on top of them.
    largest = rows * 4.0**layout.bits
    assert largest < 2.0**layout.product_bits
    assert 2 ** (layout.product_bits + 1) + 2**layout.mask_bits < 2**room
    assert max(guest, host) * 2 ** (layout.product_bits + layout.direction_bits) < 2**room
    # Moving a uniform value over 2**m by at most d changes its distribution by d / 2**m; the block has so many values.
    assert (guest + 1) * host * 2 ** (layout.product_bits + 1) / 2**layout.mask_bits <= 2.0**-40
    assert layout.slots.count * layout.slots.width < 2048 - 1
    # Products of scores: integers below 2**MAX_BITS, as many of them as a slot has rows.
    slots, entries = layout.score_slots, layout.score_slots.count**2
    assert layout.score_rows * 4**MAX_BITS < 2**layout.score_product_bits
    assert 2 ** (layout.score_product_bits + 1) + 2**layout.score_mask_bits < 2 ** (slots.width - 1)
    assert entries * 2 ** (layout.score_product_bits + 1) / 2**layout.score_mask_bits <= 2.0**-40
    assert slots.count * slots.width < 2048 - 1
    assert layout.score_rows * slots.count >= rows


def test_precision_falls_as_rows_make_up_for_it() -> None:
    bits = [lay_out(specification(), rows, {"shop": 3, "bank-0": 3}).bits for rows in (10, 1_000, 100_000, 10**7)]
    assert bits == sorted(bits, reverse=True)
    assert bits[2] <= 25
    errors = [2.0**-b / rows**0.5 for b, rows in zip(bits, (10, 1_000, 100_000, 10**7), strict=True)]
    assert max(log2(error) for error in errors) < -32
    assert lay_out(specification(feature_bits=20), 10**7, {"shop": 3, "bank-0": 3}).bits == 20


@pytest.mark.parametrize(("rows", "l2", "least"), [(7, 0.0, True), (8, 0.0, False), (7, 0.1, False)])
def test_with_as_many_weights_as_rows_the_least_are_sought(rows: int, l2: float, least: bool) -> None:
    assert lay_out(specification(l2=l2), rows, {"shop": 4, "bank-0": 3}).least_norm is least


def test_the_side_with_fewer_columns_encrypts() -> None:
    few_many = lay_out(specification(), 1000, {"shop": 31, "bank-0": 300}).pairs[0]
    assert (few_many.encryptor, few_many.multiplier) == ("shop", "bank-0")
    assert (few_many.sent, few_many.own_sent, few_many.taken, few_many.own_taken) == (32, 31, 300, 300)
    many_few = lay_out(specification(), 1000, {"shop": 300, "bank-0": 30}).pairs[0]
    assert (many_few.encryptor, many_few.multiplier) == ("bank-0", "shop")
    assert (many_few.sent, many_few.taken, many_few.own_taken) == (30, 301, 300)


def test_every_two_parties_are_a_pair() -> None:
    layout = lay_out(specification(hosts=3), 1000, {"shop": 5, "bank-0": 4, "bank-1": 3, "bank-2": 2})
    assert {frozenset((pair.encryptor, pair.multiplier)) for pair in layout.pairs} == {
        frozenset(two)
        for two in [
            ("shop", "bank-0"), ("shop", "bank-1"), ("shop", "bank-2"),
            ("bank-0", "bank-1"), ("bank-0", "bank-2"), ("bank-1", "bank-2"),
        ]
    }  # fmt: skip
    assert [number for number, _ in layout.of("bank-1")] == [1, 3, 5]


def test_the_label_is_never_within_a_pack() -> None:
    layout = lay_out(specification(), 1000, {"shop": 3, "bank-0": 40})
    pair = layout.pairs[0]
    assert pair.label_sent
    block = [[1000 * row + column for column in range(pair.sent)] for row in range(pair.taken)]
    by_row, by_column = arrange(layout, pair, block)
    unpack = layout.slots.unpack
    assert [unpack([pack[row] for pack in by_row], 3) for row in range(40)] == [row[:3] for row in block]
    columns = [unpack([pack[column] for pack in by_column], 40) for column in range(4)]
    assert columns == [[row[column] for row in block] for column in range(4)]


@pytest.mark.parametrize("rows", [20, 800, 100_000, 10**7])
@pytest.mark.parametrize("exponent", [-3, 0, 12, 26, 36])
def test_scores_fit_though_a_column_has_all_of_its_norm_in_one_row(rows: int, exponent: int) -> None:
    bits = measured_bits(exponent, rows)
    assert 12 <= bits <= 32
    assert 2.0**exponent * rows**0.5 <= 2.0 ** (MAX_BITS - bits)
