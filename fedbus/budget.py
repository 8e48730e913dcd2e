"""What training with differential privacy has spent after so many rounds, by opacus's accountants.

The guarantee is of a single row of one party: DP-SGD with Poisson sampling, parties/private_training.py. Each local
step of a party with n rows takes each of them with probability batch_size / n.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from fedbus.jobs.average import Privacy

if TYPE_CHECKING:
    from opacus.accountants.accountant import IAccountant


def sample_rate(rows: int, batch_size: int) -> float:
    """With what probability a step takes each row."""
    return min(1.0, batch_size / rows)


def steps(rows: int, batch_size: int, epochs: int) -> int:
    """Local steps of so many epochs."""
    return epochs * max(1, math.ceil(rows / batch_size))


class Budget:
    """The privacy budget of a job.

    Args:
        rows: of each party.
    """

    def __init__(self, privacy: Privacy, batch_size: int, rows: Sequence[int], local_epochs: int) -> None:
        self._privacy = privacy
        # Parties with as many rows spend as much.
        self._courses = sorted(
            {(sample_rate(count, batch_size), steps(count, batch_size, local_epochs)) for count in rows}
        )
        self._spent = cache(self._epsilon)

    def epsilon_after(self, rounds: int) -> float:
        """The largest epsilon over the parties after so many rounds in which all of them trained."""
        return self._spent(rounds)

    def allows(self, rounds: int) -> bool:
        """Whether so many rounds stay within the budget."""
        return self.epsilon_after(rounds) <= self._privacy.epsilon

    def _epsilon(self, rounds: int) -> float:
        if not rounds:
            return 0.0
        return max(self._of_one(rate, each * rounds) for rate, each in self._courses)

    def _of_one(self, rate: float, count: int) -> float:
        # opacus brings torch along, which other jobs do without.
        accountant = _accountant(self._privacy.accountant)
        accountant.history = [(self._privacy.noise_multiplier, rate, count)]
        # Where every row is taken, a logarithm of 0 is where it should be.
        with warnings.catch_warnings(), np.errstate(divide="ignore"):
            # The bound holds at the last of its orders too; it is only not the tightest.
            warnings.filterwarnings("ignore", message="Optimal order is the")
            return float(accountant.get_epsilon(delta=self._privacy.delta))


def _accountant(name: str) -> IAccountant:
    from opacus.accountants import PRVAccountant, RDPAccountant

    return PRVAccountant() if name == "prv" else RDPAccountant()
