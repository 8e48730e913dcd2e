"""Matching by sorting against sets, and where chance or malice makes values that are nearly alike."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbus.algorithms.vertical.agreed import MATCH_BYTES
from fedbus.errors import ProtocolError
from parties.vertical.matching import cut, match

# Of few bytes, so that first halves and last halves are often alike.
VALUES = st.lists(
    st.tuples(st.sampled_from([b"\0", b"\1", b"\xff"]), st.sampled_from([b"\0", b"\1", b"\xff"])), unique=True
)


def rows(values: bytes) -> list[bytes]:
    return [values[start : start + MATCH_BYTES] for start in range(0, len(values), MATCH_BYTES)]


@given(VALUES, VALUES)
def test_matches_as_sets_do(mine: list[tuple[bytes, bytes]], theirs: list[tuple[bytes, bytes]]) -> None:
    one, other = ([high * 8 + low * 8 for high, low in values] for values in (mine, theirs))
    left, right = match(b"".join(one), b"".join(other), "bank")
    assert [one[at] for at in left] == [other[at] for at in right]
    assert {one[at] for at in left} == {*one} & {*other}
    assert len(left) == len({*one} & {*other})


def test_the_order_depends_on_the_values_only() -> None:
    values, random = os.urandom(MATCH_BYTES * 1000), np.random.default_rng(1)
    order = random.permutation(1000)
    shuffled = b"".join(rows(values)[at] for at in order)
    left, right = match(values, shuffled, "bank")
    np.testing.assert_array_equal(left, order[right])
    again, _ = match(shuffled, values, "bank")
    np.testing.assert_array_equal(order[again], left)


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("common", [False, True])
def test_a_value_twice_on_one_side_is_refused(side: int, common: bool) -> None:
    sides = [rows(os.urandom(MATCH_BYTES * 5)) for _ in range(2)]
    sides[side].append(sides[side][0])
    if common:
        sides[1 - side].append(sides[side][0])
    with pytest.raises(ProtocolError, match="bank sent the same id twice"):
        match(b"".join(sides[0]), b"".join(sides[1]), "bank")


def test_cuts_bytes_that_differ() -> None:
    points = bytes(range(64))
    assert cut(points) == bytes(range(8, 24)) + bytes(range(40, 56))
    assert cut(b"") == b""
