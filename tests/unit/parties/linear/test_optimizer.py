"""Optimisers against values worked out by hand, and their state across a restart."""

from __future__ import annotations

import numpy as np
import pytest

from fedbus.errors import ConfigError, StoreError
from parties.linear.optimizer import Optimizer

START = np.array([1.0, -1.0])
GRADIENTS = (np.array([0.5, -2.0]), np.array([-0.25, 1.0]), np.array([1.0, 0.5]))


def run(optimizer: Optimizer, weights: np.ndarray, gradients: tuple[np.ndarray, ...]) -> np.ndarray:
    for gradient in gradients:
        weights = optimizer.step(weights, gradient)
    return weights


def test_momentum_by_hand() -> None:
    # Velocities for momentum 0.5: (0.5, -2), (0, 0), (1, 0.5); the learning rate is 0.1.
    weights = run(Optimizer.create("momentum", 0.1, 0.5), START, GRADIENTS)
    assert weights.tolist() == pytest.approx([1 - 0.05 - 0.1, -1 + 0.2 - 0.05], abs=1e-15)


def test_adam_by_hand() -> None:
    # First step: both moments, corrected, are the gradient and its square: the change is the learning rate times the
    # sign. Second, first weight: m = .9 * .05 - .1 * .25 = .02, over 1 - .9^2 = .19; v = .999 * .00025 + .001 * .0625
    # = .00031225, over 1 - .999^2 = .001999. The change is .1 * .1052631579 / sqrt(.1562031016) = .0266337.
    adam = Optimizer.create("adam", 0.1)
    first = adam.step(START, GRADIENTS[0])
    assert first.tolist() == pytest.approx([0.9, -0.9], abs=1e-8)
    second = adam.step(first, GRADIENTS[1])
    assert second.tolist() == pytest.approx([0.9 - 0.0266337, -0.9 + 0.0266337], abs=1e-7)


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_a_restored_optimizer_takes_the_same_steps(name: str) -> None:
    whole, before, after = (Optimizer.create(name, 0.1, 0.5) for _ in range(3))
    before.restore({})
    weights = run(before, START, GRADIENTS[:2])
    state = before.state()
    assert state["steps"] == 2
    after.restore(state)
    assert run(after, weights, GRADIENTS[2:]).tolist() == run(whole, START, GRADIENTS).tolist()


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_a_step_changes_neither_arguments_nor_an_earlier_state(name: str) -> None:
    optimizer = Optimizer.create(name, 0.1, 0.5)
    weights, gradient = START.copy(), GRADIENTS[0].copy()
    optimizer.step(weights, gradient)
    state = optimizer.state()
    kept = {key: value if isinstance(value, int) else list(value) for key, value in state.items()}
    optimizer.step(weights, gradient)
    assert (weights.tolist(), gradient.tolist()) == (START.tolist(), GRADIENTS[0].tolist())
    assert state == kept


def test_state_that_does_not_fit() -> None:
    optimizer = Optimizer.create("momentum", 0.1, 0.5)
    for state in ({"steps": 1}, {"steps": "x", "first": [], "second": []}, {"steps": 1, "first": ["?"], "second": []}):
        with pytest.raises(StoreError, match="cannot be read"):
            optimizer.restore(state)
    optimizer.restore({"steps": 1, "first": [1.0, 2.0, 3.0], "second": []})
    with pytest.raises(StoreError, match="has 3 weights and the model 2"):
        optimizer.step(START, GRADIENTS[0])


def test_unknown_optimizer() -> None:
    with pytest.raises(ConfigError, match="'momentum' or 'adam'"):
        Optimizer.create("sgd", 0.1)
