"""A probe finds out from sums over all parties whether columns of different parties depend on each other.

The label's right-hand side has next to nothing in a direction in which columns hardly differ, so that the method that
solves for it never meets that direction. A right-hand side of random numbers, each party's own and secret, has about
as much in it as in any other: conjugate gradients on it, whose solution nobody wants, end in it.

Source: Golub, Meurant, "Matrices, moments and quadrature with applications", 2010, section 12.1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any

from coordinator.linear.conjugate import LEAST_CURVATURE, eigenvalues, exponent

# A direction is missed of which the random numbers have less than this part of what is usual: about one in 10,000.
_LEAST_PART = 1e-4
# Once a direction hardly varies, the search goes on while it varies so much less each time.
_FALL = 0.25


@dataclass(slots=True)
class Probe:
    """The state of the search.

    Attributes:
        flat: the part of a direction's squared norm below which its curvature counts as none.
        weights: how many there are.
        first, gain: r z at first and now.
        norm: square of the direction's.
        flattest: the least curvature of a direction, as a part of its squared norm.
        steps: (length, factor) so far.
        done: nothing more is to be found.
        cut: nothing was found in as many rounds as are allowed, and there may be something.
    """

    flat: float
    weights: int
    first: float
    gain: float
    norm: float
    flattest: float = inf
    steps: list[list[float]] = field(default_factory=list)
    done: bool = False
    cut: bool = False

    @classmethod
    def begin(cls, flat: float, weights: int, gain: float) -> Probe:
        """Begin with the gain of the random right-hand side."""
        return cls(flat, weights, gain, gain, gain, done=gain <= 0)

    def to_map(self) -> dict[str, Any]:
        """Return the state as a map, for a checkpoint."""
        return {name: getattr(self, name) for name in self.__slots__}

    @property
    def exponent(self) -> int:
        """The exponent of the unit of what the next round multiplies."""
        return exponent(self.norm)

    @property
    def found(self) -> bool:
        """Whether there is a direction in which the columns of all parties together hardly vary."""
        return self.flattest <= self.flat

    @property
    def least(self) -> float:
        """The smallest eigenvalue that was met, from above."""
        return min(self.flattest, eigenvalues(self.steps)[0] if self.steps else inf)

    @property
    def most(self) -> float:
        """The largest eigenvalue that was met, from below."""
        return eigenvalues(self.steps)[1] if self.steps else 0.0

    def step(self, curvature: float) -> tuple[float, bool]:
        """Return how far to go in the direction, and whether it is the flattest so far, and flat."""
        part = max(curvature, 0.0) / self.norm
        before, self.flattest = self.flattest, min(self.flattest, part)
        self.done = part <= LEAST_CURVATURE or (before <= self.flat and part > _FALL * before)
        return 0.0 if self.done else self.gain / curvature, part < before and part <= self.flat

    def turn(self, length: float, gain: float, *, last: bool) -> float:
        """Return, after a step, what part of the old direction the new one keeps.

        Args:
            last: no more rounds are allowed.
        """
        factor = gain / self.gain
        if length:
            self.steps.append([length, factor])
        self.gain, self.norm = gain, gain + factor**2 * self.norm
        self.done = self.done or gain <= _LEAST_PART**2 * self.first / self.weights
        self.cut = last and not self.done and not self.found
        self.done = self.done or last
        return factor
