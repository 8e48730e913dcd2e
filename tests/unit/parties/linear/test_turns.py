"""Which turns of the coordinator a party of solver `gram` follows, and what it keeps between two rounds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from layouts import gram_layout

from fedbus.algorithms.linear.messages import CHECK, DIRECTION, PASS, PROBE, STOP, Turn
from fedbus.algorithms.linear.spec import LinearParams
from fedbus.errors import ProtocolError
from parties.linear.basis import Basis
from parties.linear.descent import PartyWork
from parties.linear.turns import Descent, check_rounds

PARAMS = LinearParams()


def descent(then: str, kept: np.ndarray | None = None) -> Descent:
    zeros = np.zeros(3)
    return Descent(zeros, zeros, zeros, 0, then, 29, zeros[:0] if kept is None else kept, b"", {})


def turn(then: str, bits: int = 0) -> Turn:
    return Turn(0.0, 0, then, 0.0, converged=False, bits=bits)


@pytest.mark.parametrize("before", [DIRECTION, CHECK, PROBE])
def test_a_coordinator_that_begins_another_probe_is_refused(before: str) -> None:
    """From a probe nothing leads to another one but a pass, so that there are two of them in a job at most."""
    layout = gram_layout()
    seen, ways = set(), [before]
    while ways:
        now = ways.pop()
        for then in (DIRECTION, CHECK, PROBE, STOP):
            try:
                descent(now).check(turn(then), "hub", layout, PARAMS)
            except ProtocolError:
                continue
            if (now, then) not in seen:
                seen.add((now, then))
                ways += [] if then == STOP else [then]
    assert (PROBE, DIRECTION) not in seen
    assert (PROBE, CHECK) not in seen
    assert (DIRECTION, PROBE) not in seen
    assert ((CHECK, PROBE) in seen) == (before != PROBE)
    with pytest.raises(ProtocolError, match="hub asks for direction after probe"):
        descent(PROBE).check(turn(DIRECTION), "hub", layout, PARAMS)


def test_a_coordinator_that_asks_for_more_passes_than_one_is_refused() -> None:
    layout, again = gram_layout(), "hub asks for another pass with"
    descent(CHECK).check(turn(PASS, 40), "hub", layout, PARAMS)
    for bits in (layout.bits + 1, 39, 41, 64, 0):
        with pytest.raises(ProtocolError, match=again):
            descent(CHECK).check(turn(PASS, bits), "hub", layout, PARAMS)
    with pytest.raises(ProtocolError, match=again):
        descent(PROBE).check(turn(PASS, 40), "hub", gram_layout(feature_bits=40), PARAMS)
    # A job that names its bits has one pass.
    with pytest.raises(ProtocolError, match=again):
        descent(PROBE).check(turn(PASS, 40), "hub", gram_layout(feature_bits=30), LinearParams(feature_bits=30))


def test_a_coordinator_that_never_ends_is_refused() -> None:
    # Three rounds, a check after each, a pass and its check, and two probes of three rounds.
    check_rounds(13, "hub", LinearParams(max_epochs=3))
    with pytest.raises(ProtocolError, match=r"more rounds than params\.max_epochs allows"):
        check_rounds(14, "hub", LinearParams(max_epochs=3))


@pytest.mark.parametrize(("part", "named"), [(1e-7, []), (0.3, ["a", "b"])])
def test_a_party_without_a_part_in_what_was_found_names_none_of_its_columns(part: float, named: list[str]) -> None:
    random = np.random.default_rng(0)
    first = random.normal(size=200)
    columns = np.column_stack([first, first + 1e-9 * random.normal(size=200)])
    columns = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    work: Any = object.__new__(PartyWork)
    # Its own two columns nearly agree, so that a part in the basis is a large one in the columns.
    work.basis = Basis.of(columns, ("a", "b"), l2=0.0, least_norm=False)
    work.job = SimpleNamespace(columns=("a", "b"))
    work.share = SimpleNamespace(solver=descent(PROBE, np.full(2, part)).to_map())
    assert work.alike == named
