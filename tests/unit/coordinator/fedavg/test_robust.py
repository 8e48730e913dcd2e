"""Robust averages against definitions written out, and against members that lie."""

from __future__ import annotations

import itertools
import statistics

import numpy as np
import pytest

from coordinator.fedavg import robust
from coordinator.fedavg.robust import choose, combine
from fedbus.algorithms.fedavg.spec import Strategy
from fedbus.errors import JobFailed

UPDATES = np.random.default_rng(5).normal(size=(7, 41)).astype(np.float32)
ROWS = [10, 20, 30, 40, 50, 60, 70]
LIES = np.array([[1e9], [-1e9]], dtype=np.float32) * np.ones((1, 41), dtype=np.float32)
LIED = np.concatenate([UPDATES, LIES]).astype(np.float32)


@pytest.fixture(autouse=True, params=[1 << 20, 200], ids=["one block", "many blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robust, "BLOCK_BYTES", request.param)


def test_weighted_mean() -> None:
    found = combine(UPDATES, ROWS, Strategy(name="fedavg"))
    expected = [sum(row * float(x) for row, x in zip(ROWS, column, strict=True)) / 280 for column in UPDATES.T]
    assert found == pytest.approx(expected, abs=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize("members", [6, 7])
def test_median(members: int) -> None:
    found = combine(UPDATES[:members], ROWS[:members], Strategy(name="median"))
    assert found == pytest.approx([statistics.median(map(float, column)) for column in UPDATES[:members].T], abs=1e-6)


@pytest.mark.parametrize(("trim", "drop"), [(0.1, 0), (0.2, 1), (0.3, 2), (0.49, 3)])
def test_trimmed_mean(trim: float, drop: int) -> None:
    found = combine(UPDATES, ROWS, Strategy(name="trimmed_mean", trim=trim))
    expected = [statistics.fmean(sorted(map(float, column))[drop : 7 - drop]) for column in UPDATES.T]
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("byzantine", [0, 1, 2])
def test_krum(byzantine: int) -> None:
    # The definition: the least sum of squared distances to the n - f - 2 nearest of the others.
    distances = {
        (a, b): float(((UPDATES[a].astype(float) - UPDATES[b]) ** 2).sum())
        for a, b in itertools.permutations(range(7), 2)
    }
    scores = [sum(sorted(distances[a, b] for b in range(7) if b != a)[: 7 - byzantine - 2]) for a in range(7)]
    assert choose(UPDATES, byzantine) == scores.index(min(scores))
    found = combine(UPDATES, ROWS, Strategy(name="krum", byzantine=byzantine))
    assert found.tolist() == UPDATES[scores.index(min(scores))].tolist()
    assert not np.shares_memory(found, UPDATES)


def test_krum_tells_near_updates_apart_that_are_far_from_zero() -> None:
    # Their squares are 1e15 times the squares of their differences.
    near = 1000 + np.array([[0], [1], [2], [3], [9]]) * np.float32(2**-13) * np.ones((1, 41), dtype=np.float32)
    # With f = 1 each has two neighbours: the sums of squares are 5, 2, 2, 5 and 85; the first of the least is taken.
    assert choose(near.astype(np.float32), 1) == 1


@pytest.mark.parametrize("name", ["median", "trimmed_mean", "krum"])
def test_lies_do_not_carry(name: str) -> None:
    found = combine(LIED, [1.0] * 9, Strategy(name=name, trim=0.25, byzantine=2))
    assert (found >= UPDATES.min(axis=0)).all()
    assert (found <= UPDATES.max(axis=0)).all()
    assert np.abs(combine(LIED, [1.0] * 8 + [0.5], Strategy())).min() > 1e7


def test_too_few_for_krum() -> None:
    with pytest.raises(JobFailed, match=r"at least 7 updates and this round has 6; raise params\.min_clients"):
        combine(UPDATES[:6], ROWS[:6], Strategy(name="krum", byzantine=2))


@pytest.mark.parametrize("weights", [[], [1.0] * 6, [0.0] * 7, [-1.0] + [1.0] * 6, [float("nan")] * 7])
def test_weights_that_are_none(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        combine(UPDATES, weights, Strategy())
