"""Each party runs an optimiser on its own weights.
Both optimisers work element by element, so no party needs another's weights.

Heavy-ball momentum: Polyak, "Some methods of speeding up the convergence of iteration methods", 1964.
Adam: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedbus.errors import ConfigError, StoreError

BETA_1 = 0.9
BETA_2 = 0.999
EPSILON = 1e-8

State = dict[str, list[float] | int]


def _nothing() -> np.ndarray:
    return np.zeros(0)


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """It holds what an optimiser remembers, and is replaced as a whole at each step, never changed.

    Attributes:
        steps: done so far.
        first: (weights,) velocity of momentum, first moment of Adam; empty before the first step.
        second: (weights,) second moment of Adam; empty otherwise.
    """

    steps: int = 0
    first: np.ndarray = field(default_factory=_nothing)
    second: np.ndarray = field(default_factory=_nothing)


class Optimizer(ABC):
    """It takes steps from gradients. Its state goes into checkpoints, so that a restart takes the same steps."""

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self._memory = Memory()

    @staticmethod
    def create(name: str, learning_rate: float, momentum: float = 0.9) -> Optimizer:
        """Make the optimiser called "momentum" or "adam"; `momentum` is for the first only.
        Other names raise ConfigError.
        """
        if name == "momentum":
            return Momentum(learning_rate, momentum)
        if name == "adam":
            return Adam(learning_rate)
        raise ConfigError(f"optimizer '{name}' is not known; choose 'momentum' or 'adam'")

    def step(self, weights: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Compute new weights (n,) from weights (n,) and their gradient (n,); neither is changed.

        Raises:
            StoreError: a restored state is of another number of weights.
        """
        if weights.shape != gradient.shape:
            raise ValueError("weights and gradient must have the same shape")
        memory = self._memory
        if not memory.steps:
            memory = Memory(0, np.zeros(len(weights)), np.zeros(len(weights)))
        elif memory.first.shape != weights.shape:
            raise StoreError(
                f"the checkpoint's optimiser has {len(memory.first)} weights and the model {len(weights)};"
                " submit a new job"
            )
        change, self._memory = self._update(memory, gradient)
        return weights - self.learning_rate * change

    def state(self) -> State:
        """Return the state for a checkpoint; floats survive it exactly."""
        memory = self._memory
        return {"steps": memory.steps, "first": memory.first.tolist(), "second": memory.second.tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state made by `state`; an empty one is that before the first step.

        Raises:
            StoreError: the state is none of an optimiser.
        """
        if not state:
            self._memory = Memory()
            return
        try:
            first, second = (np.array(state[name], dtype=np.float64) for name in ("first", "second"))
            self._memory = Memory(int(state["steps"]), first, second)
        except (KeyError, TypeError, ValueError):
            raise StoreError("the checkpoint's optimiser state cannot be read; submit a new job") from None

    @abstractmethod
    def _update(self, memory: Memory, gradient: np.ndarray) -> tuple[np.ndarray, Memory]:
        """The change of the weights for a learning rate of one, and what to remember."""


class Momentum(Optimizer):
    """The heavy ball: velocity = momentum * velocity + gradient; weights -= learning_rate * velocity."""

    def __init__(self, learning_rate: float, momentum: float) -> None:
        super().__init__(learning_rate)
        self.momentum = momentum

    def _update(self, memory: Memory, gradient: np.ndarray) -> tuple[np.ndarray, Memory]:
        velocity = self.momentum * memory.first + gradient
        return velocity, Memory(memory.steps + 1, velocity)


class Adam(Optimizer):
    """Adam with bias correction and the paper's constants."""

    def _update(self, memory: Memory, gradient: np.ndarray) -> tuple[np.ndarray, Memory]:
        steps = memory.steps + 1
        first = BETA_1 * memory.first + (1 - BETA_1) * gradient
        second = BETA_2 * memory.second + (1 - BETA_2) * gradient**2
        change = first / (1 - BETA_1**steps) / (np.sqrt(second / (1 - BETA_2**steps)) + EPSILON)
        return change, Memory(steps, first, second)
