"""The privacy budget says how much privacy the rows of a job have lost: the epsilon of DP-SGD after so many rounds.

Abadi et al., "Deep learning with differential privacy", CCS 2016, composed as Mironov, Talwar and Zhang, "Rényi
differential privacy of the sampled Gaussian mechanism", 2019, and Balle et al., "Hypothesis testing interpretations and
Rényi differential privacy", AISTATS 2020, theorem 21 ("rdp"), or Gopi, Lee and Wutschitz, "Numerical composition of
differential privacy", NeurIPS 2021 ("prv"); both are opacus's. Two tables are neighbours where one has a row more.

opacus brings torch along, so it is imported only where a budget is kept.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fedbus.algorithms.fedavg.spec import MAX_TRAINING_ROUNDS, AverageJob, Privacy
from fedbus.errors import JobRefused

# Of the "prv" accountant: how far its epsilon may be above the least one. A grid of MAX_POINTS takes seconds and half a
# gigabyte; where it would take more (an epsilon in the hundreds, steps by the ten million), "rdp" is a bound as well.
EPSILON_ERROR = 0.01
MAX_POINTS = 1 << 22


class Budget:
    """The privacy budget of a job.

    Args:
        privacy: the job's.
        batch_size: expected rows of a step.
        rows: that each party trains on.
        local_epochs: of a round.

    Raises:
        JobRefused: delta is no guarantee for the rows of a party.
    """

    def __init__(self, privacy: Privacy, batch_size: int, rows: Sequence[int], local_epochs: int) -> None:
        if not rows or min(rows) < 1:
            raise ValueError("every party has at least one row")
        if privacy.delta * max(rows) >= 1:
            raise JobRefused(
                f"privacy.delta: {privacy.delta:g} allows to publish a whole row of a party with {max(rows)}; set it "
                f"well below {1 / max(rows):.2g}"
            )
        self._privacy = privacy
        self._courses = _courses(batch_size, rows, local_epochs)
        self._epsilons: dict[int, float] = {0: 0.0}
        self._last: int | None = None

    def epsilon_after(self, rounds: int) -> float:
        """Return the largest epsilon over the parties after `rounds` in which they all trained;
        infinite where there is none.

        An upper bound: the true one is not above it.
        """
        if rounds not in self._epsilons:
            self._epsilons[rounds] = max(self._epsilon(rate, steps * rounds) for rate, steps in self._courses)
        return self._epsilons[rounds]

    def allows(self, round_number: int) -> bool:
        """Return whether the round of this number, counted from 1, keeps within the job's epsilon."""
        if self._last is None:
            self._last = self._find_last()
        return round_number <= self._last

    def affordable(self, most: int) -> int:
        """Return how many rounds, up to `most`, keep within the job's epsilon."""
        if self.epsilon_after(most) <= self._privacy.epsilon:
            return most
        return min(most, self._find_last())

    def _find_last(self) -> int:
        """The last round that is within the budget: doubled until one is not, then halved."""
        within, beyond = 0, 1
        while beyond <= MAX_TRAINING_ROUNDS and self.epsilon_after(beyond) <= self._privacy.epsilon:
            within, beyond = beyond, 2 * beyond
        while beyond - within > 1:
            middle = (within + beyond) // 2
            if self.epsilon_after(middle) <= self._privacy.epsilon:
                within = middle
            else:
                beyond = middle
        return within

    def _epsilon(self, rate: float, steps: int) -> float:
        privacy = self._privacy
        with warnings.catch_warnings():
            # The least or largest order is the best one: the bound is a true one, only not the tightest.
            warnings.filterwarnings("ignore", message="Optimal order is the", category=UserWarning)
            bound = _renyi(rate, privacy.noise_multiplier, steps, privacy.delta)
            if privacy.accountant == "prv" and math.isfinite(bound):
                return min(bound, _numerical(rate, privacy.noise_multiplier, steps, privacy.delta))
        return bound


@dataclass(frozen=True, slots=True)
class Spending:
    """It says what the rounds of a job cost of its privacy budget.

    Attributes:
        rounds: that keep within the budget, up to those of the job.
        epsilon: spent after them.
        party: the one whose rows lose most, and so end training.
    """

    rounds: int
    epsilon: float
    party: str


def spending(spec: AverageJob, rows: Mapping[str, int]) -> Spending:
    """Work out what a job with [privacy] costs parties that train on so many rows, all of them in each round.

    Raises:
        JobRefused: not one round keeps within the budget, or delta is no guarantee; names the party.
    """
    assert spec.privacy is not None  # noqa: S101  # otherwise there is no budget
    params, privacy = spec.params, spec.privacy
    whole = Budget(privacy, params.batch_size, list(rows.values()), params.local_epochs)
    rounds = whole.affordable(params.rounds)
    # After one round more where there is one: that is what ends training.
    tried = min(rounds + 1, params.rounds)
    alone = {count: Budget(privacy, params.batch_size, [count], params.local_epochs) for count in rows.values()}
    party = max(rows, key=lambda name: alone[rows[name]].epsilon_after(tried))
    if not rounds:
        count, passes = rows[party], f", {params.local_epochs} times over," if params.local_epochs > 1 else ""
        raise JobRefused(
            f"the privacy budget does not allow one round: {count} rows at {party} in batches of {params.batch_size}"
            f"{passes} spend an epsilon of {whole.epsilon_after(1):.3g} in the first, and privacy.epsilon is "
            f"{privacy.epsilon:g}; raise privacy.noise_multiplier or privacy.epsilon, lower params.batch_size or "
            "params.local_epochs, or have more rows"
        )
    return Spending(rounds, whole.epsilon_after(rounds), party)


def _courses(batch_size: int, rows: Sequence[int], local_epochs: int) -> list[tuple[float, int]]:
    """Sampling rate and steps of a round of each party whose loss no other's is sure to exceed."""
    fewest: dict[int, int] = {}
    for count in rows:
        steps = local_epochs * math.ceil(count / batch_size)
        # With equal steps it is the party with fewer rows that draws each more often.
        fewest[steps] = min(count, fewest.get(steps, count))
    return [(min(1.0, batch_size / count), steps) for steps, count in fewest.items()]


def _renyi(rate: float, noise: float, steps: int, delta: float) -> float:
    """Epsilon by Rényi divergences of opacus's orders."""
    from opacus.accountants.analysis.rdp import get_privacy_spent

    orders, divergences = _divergences(rate, noise)
    epsilon, _ = get_privacy_spent(orders=orders, rdp=steps * divergences, delta=delta)
    return max(0.0, float(epsilon))


@lru_cache(maxsize=1024)
def _divergences(rate: float, noise: float) -> tuple[list[float], np.ndarray]:
    """Orders, and the Rényi divergence of one step at each, (orders,)."""
    from opacus.accountants import RDPAccountant
    from opacus.accountants.analysis.rdp import compute_rdp

    orders = list(RDPAccountant.DEFAULT_ALPHAS)
    found = []
    for order in orders:
        try:
            found.append(float(compute_rdp(q=rate, noise_multiplier=noise, steps=1, orders=float(order))))
        except (ArithmeticError, ValueError):
            # The series cancels out at this order; the others bound epsilon without it.
            found.append(math.inf)
    return orders, np.array(found)


def _numerical(rate: float, noise: float, steps: int, delta: float) -> float:
    """Epsilon by composing privacy loss variables on a grid; infinite where the grid would be too large."""
    from opacus.accountants import PRVAccountant
    from opacus.accountants.analysis.prv import PoissonSubsampledGaussianPRV

    accountant = PRVAccountant()
    accountant.history = [(noise, rate, steps)]
    # At a rate of 1 opacus takes the logarithm of 0, which it then does not use.
    with np.errstate(all="ignore"):
        step, error = PoissonSubsampledGaussianPRV(rate, noise), delta / 1000
        grid = accountant._get_domain([step], [steps], EPSILON_ERROR, error)
        if grid.size > MAX_POINTS:
            return math.inf
        return float(accountant.get_epsilon(delta, eps_error=EPSILON_ERROR, delta_error=error))
