"""The server's optimiser makes the next model of the average of the parties' updates.

    fedavg, fedprox   w += u                  McMahan et al., AISTATS 2017; Li et al., MLSys 2020
    fedavgm           v = beta v + u          Hsu, Qi, Brown, "Measuring the effects of non-identical data distribution
                      w += eta v              for federated visual classification", 2019
    fedadam, fedyogi  m = b1 m + (1 - b1) u   Reddi et al., "Adaptive federated optimization", ICLR 2021, algorithm 2
                      w += eta m / (sqrt(v) + tau), with v = b2 v + (1 - b2) u^2 for fedadam and
                      v = v - (1 - b2) u^2 sign(v - u^2) for fedyogi

u is the average of what the parties add to their weights. The others (median, trimmed_mean, krum) differ in how the
average is made, see coordinator/fedavg/robust.py, and take it as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from fedbus.algorithms.fedavg.spec import Strategy
from fedbus.errors import StoreError

# Entries that are worked on at once: temporaries of float64 stay below a megabyte.
BLOCK = 1 << 16
ADAPTIVE = ("fedadam", "fedyogi")
_STATE = {"fedavgm": ("velocity",), "fedadam": ("first", "second"), "fedyogi": ("first", "second")}


class ServerOptimizer:
    """The server's optimiser and its state: arrays in float32, each as large as the model; none for plain averages.

    Attributes:
        rate: the server's learning rate eta.
    """

    def __init__(self, strategy: Strategy, arrays: dict[str, np.ndarray], size: int) -> None:
        """Use `create`."""
        self.rate = strategy.learning_rate or (0.1 if strategy.name in ADAPTIVE else 1.0)
        self._strategy = strategy
        self._arrays = arrays
        self._size = size

    @classmethod
    def create(cls, strategy: Strategy, size: int) -> ServerOptimizer:
        """Make the optimiser before its first step, for a model of `size` parameters.

        The second moment begins at tau^2, the least with which algorithm 2 may begin.
        """
        arrays = {name: np.zeros(size, dtype=np.float32) for name in _STATE.get(strategy.name, ())}
        if "second" in arrays:
            arrays["second"].fill(strategy.tau**2)
        return cls(strategy, arrays, size)

    def step(self, weights: np.ndarray, average: Iterable[tuple[int, np.ndarray]]) -> None:
        """Change the weights in place by the average update, chunk by chunk.

        Args:
            weights: (size,) float32.
            average: (start, part) in any order, each entry of the update in one part; float64 or float32. An error
                while they come leaves weights and state half changed: go back to the last checkpoint then.

        Raises:
            ValueError: the parts do not make up one update of this size.
        """
        if weights.shape != (self._size,):
            raise ValueError(f"the model has {self._size} parameters, not {weights.shape}")
        done = 0
        for start, part in average:
            if start < 0 or start + len(part) > self._size:
                raise ValueError(f"a part of {len(part)} from {start} is outside an update of {self._size}")
            for offset in range(0, len(part), BLOCK):
                update = part[offset : offset + BLOCK].astype(np.float64)
                place = slice(start + offset, start + offset + len(update))
                weights[place] = weights[place] + self._change(update, place)
            done += len(part)
        if done != self._size:
            raise ValueError(f"the parts of the update have {done} entries and the model {self._size}")

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the state for a checkpoint, (size,) float32 each; these are not copies."""
        return self._arrays

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take up a state made by `arrays`, which is copied.

        Raises:
            StoreError: it is the state of another strategy or of a model of another size.
        """
        wanted = dict.fromkeys(self._arrays, (self._size,))
        if {name: array.shape for name, array in arrays.items()} != wanted:
            raise StoreError(f"the checkpoint holds no state of {self._strategy.name} of this model; submit a new job")
        for name, array in arrays.items():
            self._arrays[name] = np.array(array, dtype=np.float32)

    def _change(self, update: np.ndarray, place: slice) -> np.ndarray:
        """What to add to the weights at `place`, float64; the state there is brought forward."""
        strategy = self._strategy
        if strategy.name == "fedavgm":
            velocity: np.ndarray = strategy.momentum * self._arrays["velocity"][place].astype(np.float64) + update
            self._arrays["velocity"][place] = velocity
            velocity *= self.rate
            return velocity
        if strategy.name in ADAPTIVE:
            first: np.ndarray = self._arrays["first"][place].astype(np.float64)
            second = self._arrays["second"][place].astype(np.float64)
            square = update**2
            first = strategy.beta1 * first + (1 - strategy.beta1) * update
            if strategy.name == "fedadam":
                second = strategy.beta2 * second + (1 - strategy.beta2) * square
            else:
                second -= (1 - strategy.beta2) * square * np.sign(second - square)
            self._arrays["first"][place], self._arrays["second"][place] = first, second
            change: np.ndarray = self.rate * first / (np.sqrt(second) + strategy.tau)
            return change
        return update
