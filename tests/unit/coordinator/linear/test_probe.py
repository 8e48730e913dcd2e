"""Columns of different parties that depend on each other, found from sums alone, against matrices in hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from layouts import gram_layout

from coordinator.linear.conjugate import Conjugate
from coordinator.linear.gram import _after
from coordinator.linear.probe import Probe
from fedbus import codec
from fedbus.algorithms.linear.spec import LinearParams

FLAT = 1e-13


def search(matrix: np.ndarray, random: np.random.Generator) -> tuple[Probe, np.ndarray | None]:
    """A probe of a matrix; its state, and the direction that it had parties keep."""
    residual = direction = random.uniform(-1, 1, len(matrix))
    probe, kept = Probe.begin(FLAT, len(matrix), float(residual @ residual)), None
    for _ in range(400):
        if probe.done:
            return probe, kept
        assert np.abs(direction).max() <= 2.0**probe.exponent
        product = matrix @ direction
        length, keep = probe.step(float(direction @ product))
        kept = direction if keep else kept
        residual = residual - length * product
        direction = residual + probe.turn(length, float(residual @ residual), last=False) * direction
        # As it is between two rounds, in a checkpoint.
        probe = Probe(**codec.unpack(codec.pack(probe.to_map())))
    raise AssertionError("it does not end")


def orthogonal_blocks(random: np.random.Generator, parties: int, columns: int, apart: float) -> np.ndarray:
    """The Gram matrix of parties whose last columns add up to the others' but for a part of `apart`."""
    tables = random.normal(size=(parties, 500, columns))
    tables[-1, :, 0] = tables[:-1, :, 0].sum(axis=0) + apart * random.normal(size=500)
    blocks = np.hstack([np.linalg.qr(table)[0] for table in tables])
    gram: np.ndarray = blocks.T @ blocks
    return gram


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("parties", [2, 3, 5])
def test_a_direction_without_variation_is_found_and_named(parties: int, seed: int) -> None:
    matrix = orthogonal_blocks(np.random.default_rng(seed), parties, 6, 1e-8)
    probe, kept = search(matrix, np.random.default_rng(100 + seed))
    assert probe.found
    values, vectors = np.linalg.eigh(matrix)
    assert values[0] < FLAT < values[1]
    assert kept is not None
    assert abs(vectors[:, 0] @ kept) / np.linalg.norm(kept) > 1 - 1e-6


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("apart", [1.0, 1e-2, 1e-4])
def test_what_varies_is_measured_and_not_called_dependent(apart: float, seed: int) -> None:
    matrix = orthogonal_blocks(np.random.default_rng(seed), 3, 6, apart)
    probe, kept = search(matrix, np.random.default_rng(100 + seed))
    assert not probe.found
    assert kept is None
    assert probe.least == pytest.approx(np.linalg.eigvalsh(matrix)[0], rel=0.05)


def test_no_variation_at_all_ends_the_search() -> None:
    for seed in range(20):
        probe, kept = search(np.array([[1.0, 1.0], [1.0, 1.0]]), np.random.default_rng(seed))
        assert probe.found
        assert kept is not None
        assert kept[0] == pytest.approx(-kept[1], rel=1e-6)


def test_a_search_that_was_cut_short_says_so() -> None:
    probe = Probe.begin(FLAT, 3, 3.0)
    length, _ = probe.step(3.0)
    probe.turn(length, 1.0, last=True)
    assert probe.done
    assert probe.cut
    # With nothing left there was no need of more rounds.
    probe = Probe.begin(FLAT, 3, 3.0)
    length, _ = probe.step(3.0)
    probe.turn(length, 1e-20, last=True)
    assert probe.done
    assert not probe.cut


def test_a_second_pass_is_searched_whatever_its_rounds_met() -> None:
    """They begin near the solution and end before the largest eigenvalue is known."""
    layout, spec = gram_layout(), SimpleNamespace(params=LinearParams())
    state = Conjugate.begin(layout, 0.0, 1e-30, 1.0)
    state.smallest, state.largest = 0.5, 1.5
    work: Any = SimpleNamespace(solver={}, session=SimpleNamespace(linear=spec), course=SimpleNamespace(losses=[1.0]))
    assert _after(work, layout, state) == "stop"
    work.solver = {"bits": 40}
    assert _after(work, layout, state) == "probe"


@pytest.mark.parametrize("parties", [2, 3, 4, 6])
def test_the_largest_eigenvalue_tells_that_a_small_one_may_be_hidden(parties: int) -> None:
    for seed in range(50):
        state = Conjugate.begin(gram_layout(), 0.0, 1.0, 1.0)
        random = np.random.default_rng(seed)
        state.largest = float(np.linalg.eigvalsh(orthogonal_blocks(random, parties, 3, 0.0))[-1])
        assert state.may_hide(parties)


def test_two_parties_without_common_columns_are_not_searched() -> None:
    state = Conjugate.begin(gram_layout(), 0.0, 1.0, 1.0)
    assert state.may_hide(2)
    state.largest = float(np.linalg.eigvalsh(orthogonal_blocks(np.random.default_rng(0), 2, 6, 1.0))[-1])
    assert not state.may_hide(2)
