"""Conjugate gradients are led from here: sums over all parties say which steps and turns to take and when to end.

The coordinator has no vector. Of a direction v it knows the curvature v A v and the norm, of a residual r the gain
r z; the smallest eigenvalue of A that the method met follows from steps and turns alone.

Sources: Hestenes, Stiefel, J. Res. NBS 49 (1952), section 3; Golub, Meurant, "Matrices, moments and quadrature with
applications", 2010, section 12.1, for eigenvalues from steps and turns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, frexp
from typing import Any

import numpy as np

from fedbus.algorithms.linear.layout import Layout
from fedbus.algorithms.linear.spec import MOST_FEATURE_BITS

# What a check may find above what is aimed at, or above the rounding of the weights: their rounding is no more than
# half a unit in each of them, and sums of squares are compared.
_SLACK = 16.0
# A curvature of so small a part of the squared norm is that of no direction in which the columns differ.
LEAST_CURVATURE = 2.0**-90
# Of the label's variance: what the model may lack of the best one where training has converged.
MOST_LACK = 1e-6
# In a direction of less than so many times the rounding's own variance the columns of all parties count as dependent.
_MOST_ROUNDING = 4.0
# A part of an eigenvalue by which it may be larger than the method says.
_UNSEEN = 1e-3


@dataclass(slots=True)
class Conjugate:
    """The state of the method; squares are in the label's unit.

    Attributes:
        square: the label's, y y / n.
        weights: how many there are.
        bits, direction_bits: fraction bits of columns and of directions.
        tolerance: the part of the first residual to be reached; never less than rounding is aimed at.
        first, gain: r z at first and now.
        start: at the last time that it was computed anew.
        norm: square of the direction's.
        reach: no less than the norm of the weights.
        steps: (length, factor) since the last check.
        smallest, largest: eigenvalues of A that steps and turns tell of; infinite and zero before the first.
        check: whether the next round computes the residual anew.
        flat: no curvature is left.
        given: the weights are those of an earlier pass, and this one has had no round yet.
    """

    square: float
    weights: int
    bits: int
    direction_bits: int
    rows: int
    tolerance: float
    first: float
    gain: float
    start: float
    norm: float
    reach: float = 0.0
    steps: list[list[float]] = field(default_factory=list)
    smallest: float = np.inf
    largest: float = 0.0
    check: bool = False
    flat: bool = False
    given: bool = False

    @classmethod
    def begin(cls, layout: Layout, tolerance: float, gain: float, square: float) -> Conjugate:
        """Begin with the preconditioned right-hand side as the first direction."""
        weights = sum(layout.columns.values())
        return cls(
            square, weights, layout.bits, layout.direction_bits, layout.rows, tolerance, gain, gain, gain, norm=gain
        )

    def go_on(self, reach: float) -> None:
        """Begin with weights of such a norm in place of zeros: their residual is to be computed first."""
        self.reach, self.check, self.start, self.given = reach, True, np.inf, True

    def to_map(self) -> dict[str, Any]:
        """Return the state as a map, for a checkpoint."""
        return {name: getattr(self, name) for name in self.__slots__}

    @property
    def target(self) -> float:
        """The gain that is aimed at: below it is the rounding of columns in the right-hand side."""
        return max(self.tolerance**2 * self.first, self.weights * 4.0**-self.bits / self.rows)

    @property
    def exponent(self) -> int:
        """The exponent of the unit of what the next round multiplies."""
        return self.reach_exponent if self.check else exponent(self.norm)

    @property
    def reach_exponent(self) -> int:
        """The exponent of a power of two that is no less than the norm of the weights."""
        return exponent(self.reach**2)

    def step(self, curvature: float) -> float:
        """Return how far to go in the direction."""
        self.flat = curvature <= LEAST_CURVATURE * self.norm
        if self.flat:
            return 0.0
        length = self.gain / curvature
        self.reach += length * self.norm**0.5
        return length

    def turn(self, length: float, gain: float, *, last: bool) -> float:
        """Return, after a step, what part of the old direction the new one keeps.

        Args:
            last: no more rounds are allowed.
        """
        factor = gain / self.gain
        self.given = False
        if not self.flat:
            self.steps.append([length, factor])
        self.gain, self.norm = gain, gain + factor**2 * self.norm
        self.check = self.flat or last or gain <= self.target
        return factor

    def checked(self, gain: float, *, last: bool) -> bool:
        """Return, after a check, whether to go on from the residual that it found, as a first direction."""
        self._meet()
        before, self.start, self.gain, self.norm = self.start, gain, gain, gain
        self.check, self.flat = False, False
        return not last and not self.reached and gain <= before / _SLACK

    @property
    def reached(self) -> bool:
        """Whether the last check found what was aimed at."""
        # The rounding of given weights may cover what is left to be found where columns hardly differ: only rounds,
        # whose residuals it does not blur, get below it.
        return self.gain <= _SLACK * (self.target if self.given else max(self.target, self._rounding))

    @property
    def condition(self) -> float:
        """The condition number of the columns of all parties, each party's own being orthogonal."""
        return float((self.largest / self.smallest) ** 0.5) if self.largest else 1.0

    def lack(self, bits: int | None = None) -> float:
        """Estimate from above what the model may lack of the best one, as a part of the label's variance.

        Columns are off by errors that are independent of them and of a variance e = 4^-bits / 12. So the label's part
        in the directions of p weights is off by p e / n over the eigenvalue, and weights are shrunk as by a ridge of e.

        Args:
            bits: fraction bits of columns; None are those of this job.
        """
        if not self.square:
            return 0.0
        smallest = max(min(self.smallest, 1.0), 2.0**-1000)
        rest = self._rounding if self.reached else self.gain / smallest
        error = _variance(self.bits if bits is None else bits)
        return rest / self.square + self.weights * error / (self.rows * smallest) + (error / smallest) ** 2

    @property
    def coarse(self) -> float:
        """The eigenvalue below which the rounding of columns may cost more than MOST_LACK."""
        error = _variance(self.bits)
        return float(max(2 * self.weights * error / (self.rows * MOST_LACK), error * (2 / MOST_LACK) ** 0.5))

    @property
    def dependent(self) -> float:
        """The eigenvalue below which a direction cannot be told from one in which columns do not vary at all."""
        return _MOST_ROUNDING * _variance(self.bits)

    def may_hide(self, parties: int) -> bool:
        """Return whether the columns of so many parties may depend on each other without the method having met it.

        Each party's columns are orthogonal. So if some combination of all, with parts u_1 to u_k, does not vary, those
        that differ from it in the signs of parts vary by an average of 2^(k-1) / (2^(k-1) - 1): the largest eigenvalue
        is no less, and that one is met. Of two parties it is 2.
        """
        patterns = 2.0 ** (parties - 1)
        return not self.largest or self.largest >= (1 - _UNSEEN) * patterns / (patterns - 1)

    @property
    def blur(self) -> float:
        """Return by how much at most the rounding of columns moves a score, squared; a factor of 4 is for chance."""
        return 4 * self.reach**2 * _variance(self.bits)

    def bits_wanted(self) -> int | None:
        """Return fraction bits that would do; None where no job may have so many."""
        enough = (bits for bits in range(self.bits, MOST_FEATURE_BITS + 1) if self.lack(bits) <= MOST_LACK / 10)
        return next(enough, None)

    @property
    def _rounding(self) -> float:
        return self.weights * (self.reach * 2.0**-self.direction_bits) ** 2

    def _meet(self) -> None:
        if not self.steps:
            return
        smallest, largest = eigenvalues(self.steps)
        self.smallest, self.largest = min(self.smallest, smallest), max(self.largest, largest)
        self.steps = []


def exponent(square: float) -> int:
    """Return the exponent of a power of two above the root of a square."""
    return ceil(frexp(square)[1] / 2) + 1


def eigenvalues(steps: list[list[float]]) -> tuple[float, float]:
    """Return the smallest and the largest eigenvalue that steps and turns tell of."""
    lengths, factors = np.array(steps).T
    # They are squares of the singular values of the tridiagonal matrix's factor.
    factor = np.diag(lengths**-0.5) + np.diag((factors[:-1] / lengths[:-1]) ** 0.5, 1)
    values = np.linalg.svd(factor, compute_uv=False) ** 2
    return float(values[-1]), float(values[0])


def _variance(bits: int) -> float:
    """Return the variance of the error by which a column of so many fraction bits is rounded."""
    return float(4.0**-bits / 12)
