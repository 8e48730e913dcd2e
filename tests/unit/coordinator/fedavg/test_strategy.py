"""The server's optimisers against the papers' formulas written out in float64, chunked, and across a restart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from coordinator.fedavg import strategy as module
from coordinator.fedavg.strategy import ServerOptimizer
from fedbus.algorithms.fedavg.spec import Strategy
from fedbus.errors import StoreError

SIZE = 23
START = np.random.default_rng(1).normal(size=SIZE)
UPDATES = [np.random.default_rng(seed).normal(size=SIZE) for seed in (2, 3, 4)]


def chunks(update: np.ndarray, width: int = 5) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(update), width):
        yield start, update[start : start + width]


def run(server: ServerOptimizer, weights: np.ndarray, updates: list[np.ndarray]) -> np.ndarray:
    weights = weights.astype(np.float32)
    for update in updates:
        server.step(weights, chunks(update))
    return weights


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "median", "trimmed_mean", "krum"])
def test_plain_averages(name: str) -> None:
    server = ServerOptimizer.create(Strategy(name=name), SIZE)
    assert run(server, START, UPDATES) == pytest.approx(START + sum(UPDATES), abs=1e-5)
    assert server.arrays() == {}


def test_fedavgm() -> None:
    # v1 = u1, v2 = b u1 + u2, v3 = b^2 u1 + b u2 + u3, added up.
    first, second, third = UPDATES
    beta = 0.5
    total = first * (1 + beta + beta**2) + second * (1 + beta) + third
    found = run(ServerOptimizer.create(Strategy(name="fedavgm", momentum=beta), SIZE), START, UPDATES)
    assert found == pytest.approx(START + total, abs=1e-5)
    slow = run(
        ServerOptimizer.create(Strategy(name="fedavgm", momentum=beta, learning_rate=0.25), SIZE), START, UPDATES
    )
    assert slow == pytest.approx(START + 0.25 * total, abs=1e-5)


@pytest.mark.parametrize("name", ["fedadam", "fedyogi"])
@pytest.mark.parametrize("rate", [None, 0.02])
def test_adaptive(name: str, rate: float | None) -> None:
    weights, first, second = START.copy(), np.zeros(SIZE), np.full(SIZE, 0.01**2)
    for update in UPDATES:
        for entry, delta in enumerate(update):
            first[entry] = 0.8 * first[entry] + 0.2 * delta
            if name == "fedadam":
                second[entry] = 0.95 * second[entry] + 0.05 * delta * delta
            elif second[entry] > delta * delta:
                second[entry] -= 0.05 * delta * delta
            else:
                second[entry] += 0.05 * delta * delta
            weights[entry] += (0.1 if rate is None else rate) * first[entry] / (second[entry] ** 0.5 + 0.01)
    settings = Strategy(name=name, beta1=0.8, beta2=0.95, tau=0.01, learning_rate=rate)
    assert run(ServerOptimizer.create(settings, SIZE), START, UPDATES) == pytest.approx(weights, abs=2e-5)


@pytest.mark.parametrize("name", ["fedavgm", "fedadam", "fedyogi"])
def test_a_restored_server_takes_the_same_steps(name: str) -> None:
    whole, before, after = (ServerOptimizer.create(Strategy(name=name), SIZE) for _ in range(3))
    weights = run(before, START, UPDATES[:2])
    state = {key: array.copy() for key, array in before.arrays().items()}
    assert all(array.dtype == np.float32 for array in state.values())
    after.restore(state)
    assert run(after, weights, UPDATES[2:]).tolist() == run(whole, START, UPDATES).tolist()
    # Its state is its own.
    assert all((state[key] == before.arrays()[key]).all() for key in state)


@pytest.mark.parametrize("name", ["fedavg", "fedavgm", "fedadam"])
def test_how_the_update_is_cut_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = (START.astype(np.float32) for _ in range(2))
    ServerOptimizer.create(Strategy(name=name), SIZE).step(whole, [(0, UPDATES[0])])
    monkeypatch.setattr(module, "BLOCK", 3)
    ServerOptimizer.create(Strategy(name=name), SIZE).step(cut, reversed(list(chunks(UPDATES[0], 7))))
    assert cut.tolist() == whole.tolist()


def test_parts_that_are_no_update() -> None:
    server, weights = ServerOptimizer.create(Strategy(), SIZE), np.zeros(SIZE, dtype=np.float32)
    with pytest.raises(ValueError, match="have 20 entries and the model 23"):
        server.step(weights, [(0, np.zeros(20))])
    with pytest.raises(ValueError, match="a part of 4 from 20 is outside"):
        server.step(weights, [(20, np.zeros(4))])
    with pytest.raises(ValueError, match="has 23 parameters"):
        server.step(weights[1:], [])


def test_state_that_does_not_fit() -> None:
    server = ServerOptimizer.create(Strategy(name="fedadam"), SIZE)
    for state in ({}, {"velocity": np.zeros(SIZE)}, {"first": np.zeros(SIZE), "second": np.zeros(SIZE + 1)}):
        with pytest.raises(StoreError, match="no state of fedadam of this model; submit a new job"):
            server.restore(state)
