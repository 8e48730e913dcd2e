"""What a report of vertical linear regression says beside what every report does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from fedbus.algorithms.linear.spec import LinearJob
from fedbus.cautions import alike
from fedbus.report import Report, Scores

# Of R2: below the mean's own by no more than this is rounding.
_ROUNDING = 1e-9


class Coefficient(msgspec.Struct, frozen=True):
    """A coefficient of a standardised column: of the federated model, and of the model of the pooled rows."""

    federated: float
    pooled: float


class Ids(msgspec.Struct, frozen=True):
    """Rows in common as ids are, and if case, blanks, leading zeros and `.0` did not count."""

    common: int
    folded: int


class LinearReport(Report, frozen=True, kw_only=True):
    """A report of vertical linear regression.

    `train` and the other scores have mse, rmse and r2.

    Attributes:
        aligned_rows, aligned_test_rows: that all parties have in common.
        epochs: passes over all rows.
        probe_rounds: of solver "gram", which looks for columns of different parties that depend on each other.
        converged: whether training ended because nothing was left to gain.
        final_loss: at the end, without the ridge term: half of the mean squared error.
        l2: the job's ridge, where it has one.
        condition, lack: of solver "gram": of the matrix of the solution; how far below the best R2 may be.
        fraction_bits: of solver "gram": of the fixed point of columns.
        dependent: how many columns of each party follow from its others.
        alike: how many columns of each party agree with those of others, or add up to them.
        coefficients, intercept: of standardised columns; only a simulation can compare them.
        max_coefficient_difference: over all of these.
        dependent_columns, alike_columns: the names; only a simulation knows them.
        ids: where more rows would be in common if ids were written alike.
    """

    NEEDED: ClassVar[tuple[str, ...]] = (*Report.NEEDED, "aligned_rows", "epochs", "loss", "final_loss", "train")

    aligned_rows: int = 0
    aligned_test_rows: int | None = None
    epochs: int = 0
    probe_rounds: int = 0
    converged: bool = False
    final_loss: float = 0.0
    l2: float | None = None
    condition: float | None = None
    fraction_bits: int | None = None
    lack: float | None = None
    dependent: dict[str, int] = msgspec.field(default_factory=dict)
    alike: dict[str, int] = msgspec.field(default_factory=dict)
    coefficients: dict[str, dict[str, Coefficient]] | None = None
    intercept: Coefficient | None = None
    max_coefficient_difference: float | None = None
    dependent_columns: dict[str, dict[str, list[str]]] | None = None
    alike_columns: dict[str, list[str]] | None = None
    ids: Ids | None = None

    def __post_init__(self) -> None:
        for scores in (self.train, self.test, self.pooled_train, self.pooled_test):
            if scores is not None and not {"mse", "rmse", "r2"} <= set(scores):
                raise ValueError("scores of a regression have mse, rmse and r2")
        if self.coefficients is not None and self.intercept is None:
            raise ValueError("there are coefficients and no intercept")

    def cautions(self) -> list[str]:
        """See Report."""
        written = [f"{alike(self.ids.common, self.ids.folded)}."] if self.ids else []
        worse = [*_worse_than_the_mean(self.train, "training"), *_worse_than_the_mean(self.test, "held-out")]
        return [*written, *super().cautions(), *worse, *self._grown()]

    def held_out(self, party: str) -> int:
        """Those that all parties have in common."""
        return super().held_out(party) if self.aligned_test_rows is None else self.aligned_test_rows

    def _grown(self) -> list[str]:
        losses = [loss for loss in self.loss if loss is not None]
        if not losses:
            return []
        first, last = losses[0], self.final_loss
        if last <= first * (1 + _ROUNDING) and math.isfinite(last):
            return []
        return [
            f"The loss grew in training, from {first:.6g} to {last:.6g}: the model is worse than the one it began with."
        ]


def _worse_than_the_mean(scores: Scores | None, rows: str) -> list[str]:
    if scores is None:
        return []
    score = scores["r2"]
    if score is None:
        return [f"The label has the same value in all {rows} rows: there is nothing to explain, and R2 is undefined."]
    if isinstance(score, int | float) and score < -_ROUNDING:
        return [
            f"The model predicts the {rows} rows worse than the mean of their label does (R2 {score:.4g}): "
            "do not use it."
        ]
    return []


def many_weights(spec: LinearJob, rows: int, columns: Mapping[str, int]) -> list[str]:
    """What is to be known of a job whose rows do not determine its weights.

    Args:
        rows: in common, or as many as can be.
        columns: that each party trains, the guest's with the intercept.
    """
    weights = sum(columns.values())
    if spec.params.l2 or weights < rows:
        return []
    least = "; gram finds the one of least norm" if spec.params.solver == "gram" else ""
    return [
        f"There are {weights} weights, the intercept among them, for {rows} common rows: models that differ fit these"
        f" rows equally well{least}. Trust the error on held-out rows only; set params.l2, or offer fewer columns."
    ]
