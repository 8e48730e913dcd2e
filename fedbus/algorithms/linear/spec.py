"""Jobs of vertical linear regression: columns at several parties, the label at the guest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from fedbus.algorithms.vertical.job import VerticalJob
from fedbus.errors import ConfigError
from fedbus.job import (
    MAX_ROUNDS,
    MIN_KEY_BITS,
    HowMany,
    KeyBits,
    NotNegative,
    Positive,
    check_known,
)

SOLVERS = ("gram", "sgd")
OPTIMIZERS = ("momentum", "adam")

# Fraction bits of columns at most.
MOST_FEATURE_BITS = 40
_COLUMN_BITS = 24
_CHANGE = 1e-6
# What means nothing to the other solver.
_OF_SGD = ("learning_rate", "optimizer", "momentum", "batch_size", "patience")


class LinearParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a vertical linear regression is found.

    Attributes:
        solver: How the model is found. "gram" multiplies the parties' columns with each other once, encrypted, and then
            finds the exact solution by some ten rounds of conjugate gradients. "sgd" is gradient descent on encrypted
            residuals; the keys `learning_rate`, `optimizer`, `momentum`, `batch_size` and `patience` belong to it
            alone.
        key_bits: The length of the job's Paillier key in bits. A key below 2048 bits protects nobody and is taken only
            with `insecure_for_tests`.
        learning_rate: Solver "sgd" only: the step of the optimiser at each party, on standardised columns.
        optimizer: Solver "sgd" only: "momentum" (heavy ball) or "adam".
        momentum: Solver "sgd" only: the part of the last step that optimiser "momentum" takes again.
        l2: Ridge regularisation: the objective is `sum(d^2) / (2 rows) + l2 / 2 |w|^2`, in which d are the residuals
            and w the weights without the intercept.
        batch_size: Solver "sgd" only: how many rows a round takes; all of them where it is left out.
        tolerance: When the model has converged. With solver "sgd" that is when an epoch's loss changed by no more than
            this part of itself, `patience` times running, by default 1e-6. With solver "gram" it is when the norm of
            the preconditioned residual is this part of the first one, by default where rounding begins.
        patience: Solver "sgd" only: for how many epochs running the loss has to stay as it is.
        max_epochs: After so many epochs the job stops at the latest. Times the batches of an epoch it may come to
            100,000 rounds, which is checked once the number of rows is known.
        feature_bits: Fraction bits of the fixed point of standardised columns. Where it is left out, solver "sgd" takes
            24; solver "gram" takes 20 to 31, fewer the more rows there are, and 40 in a second pass over the rows where
            these fall short. A report that asks for more bits names this key.
        insecure_for_tests: Allow a key below 2048 bits. This is never for real data, and every party's policy has to
            allow it too. It may stand at the top of the file as well.
    """

    solver: str = "gram"
    key_bits: KeyBits = MIN_KEY_BITS
    learning_rate: Positive = 0.1
    optimizer: str = "momentum"
    momentum: Annotated[float, Meta(ge=0, lt=1)] = 0.9
    l2: NotNegative = 0.0
    batch_size: HowMany | None = None
    tolerance: NotNegative | None = None
    patience: HowMany = 3
    max_epochs: Annotated[int, Meta(ge=1, le=MAX_ROUNDS)] = 500
    feature_bits: Annotated[int, Meta(ge=8, le=MOST_FEATURE_BITS)] | None = None
    insecure_for_tests: bool = False

    @property
    def change(self) -> float:
        """The tolerance of solver "sgd"."""
        return _CHANGE if self.tolerance is None else self.tolerance

    @property
    def residual(self) -> float:
        """The tolerance of solver "gram"."""
        return 0.0 if self.tolerance is None else self.tolerance

    @property
    def column_bits(self) -> int:
        """Fraction bits of columns with solver "sgd"."""
        return _COLUMN_BITS if self.feature_bits is None else self.feature_bits


class LinearJob(VerticalJob, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A job of vertical linear regression: parties hold different columns about the same rows.

    The parties find the rows that they have in common by their ids, and train a linear regression on the columns of all
    of them. Each party keeps the weights of its own columns. The loss that a job reports is half the mean squared error
    plus the ridge term; solver "sgd" reports it before the step of a round, solver "gram" after it.
    """

    ALGORITHM: ClassVar[str] = "vertical-linear"

    params: LinearParams = LinearParams()

    @property
    def length(self) -> tuple[int, str]:
        return self.params.max_epochs, "epoch"

    @property
    def key_bits(self) -> int:
        return self.params.key_bits

    @property
    def batch_size(self) -> int | None:
        return self.params.batch_size

    @property
    def centred(self) -> bool:
        """Solver "gram" looks for the weights of the label around its mean."""
        return self.params.solver == "gram"

    @property
    def column_bits(self) -> int:
        return self.params.column_bits

    @property
    def against_divergence(self) -> str:
        return f"lower params.learning_rate (now {self.params.learning_rate:g})"

    @property
    def insecure(self) -> bool:
        return self.params.insecure_for_tests

    @property
    def model_facts(self) -> dict[str, Any]:
        return {"loss": "mse", "label": self.guest.label}

    def reported(self, results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """The guest's scores, who has the label, and how many columns depend on others at each party."""
        guest = results[self.guest.party]
        return {
            **{key: guest[key] for key in ("train", "test") if key in guest},
            **{name: _counts(results, name) for name in ("dependent", "alike")},
        }

    def trained(self, columns: Mapping[str, int]) -> dict[str, int]:
        """How many weights each of these parties trains: one a feature, and the guest's intercept."""
        return {party: count + (party == self.guest.party) for party, count in columns.items()}

    def check(self, fields: dict[str, Any], where: str) -> None:
        """See JobSpec; parameters of another solver are refused too."""
        params = self.params
        check_known("params.solver", params.solver, SOLVERS, where)
        check_known("params.optimizer", params.optimizer, OPTIMIZERS, where)
        foreign = [key for key in fields.get("params", {}) if key in _OF_SGD]
        if params.solver != "sgd" and foreign:
            raise ConfigError(
                f"{where}: params.{foreign[0]}: belongs to solver 'sgd', this is {params.solver!r}; "
                'leave it out, or set params.solver = "sgd"'
            )
        super().check(fields, where)


def _counts(results: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, int]:
    """Return the counts of the parties that count some."""
    counts = {party: figures.get(name) for party, figures in results.items()}
    return {party: count for party, count in counts.items() if isinstance(count, int) and count > 0}
