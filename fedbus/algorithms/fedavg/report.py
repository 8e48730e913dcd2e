"""What a report of federated averaging says beside what every report does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from fedbus.report import Percentiles, Report, Scores


class AverageReport(Report, frozen=True, kw_only=True):
    """A report of federated averaging.

    The coordinator knows what a constant prediction would have reached, and says itself in `warnings` what is to be
    known of the model.

    Attributes:
        members, missing: of each round: how many parties were asked for an update, and how many did not send one.
        took_part: in how many rounds each party's update was.
        left_out: why a party was left out of a round, the last time that it was.
        clipped: entries of its updates that each party cut (params.clip_range).
        round_overhead_seconds: what is left of a round's time without the slowest party's computation.
        test_correct: the part of the held-out rows that is classified rightly, of each model from the first one on.
        test_baseline: what a prediction that is always the same reaches on held-out rows.
        best_model: the round after which the model was best; best_test: how good that model is.
        constant_columns: that have one value in all rows of all parties.
        epsilon: what is spent of the privacy budget after each round.
        test_mse, pooled_test_mse, best_test_mse: the mse of these scores.
        max_weight_difference: between the last model and federated averaging in one process.
    """

    NEEDED: ClassVar[tuple[str, ...]] = (
        *(*Report.NEEDED, "ended"),
        *("took_part", "left_out", "clipped", "round_overhead_seconds"),
    )

    members: list[int] = msgspec.field(default_factory=list)
    missing: list[int] = msgspec.field(default_factory=list)
    took_part: dict[str, int] = msgspec.field(default_factory=dict)
    left_out: dict[str, str] = msgspec.field(default_factory=dict)
    clipped: dict[str, int] = msgspec.field(default_factory=dict)
    round_overhead_seconds: Percentiles = Percentiles(0.0, 0.0)
    test_correct: list[float] | None = None
    test_baseline: float | None = None
    best_model: int | None = None
    best_test: Scores | None = None
    constant_columns: list[str] | None = None
    epsilon: list[float] | None = None
    test_mse: float | None = None
    pooled_test_mse: float | None = None
    best_test_mse: float | None = None
    max_weight_difference: float | None = None

    def courses(self) -> dict[str, tuple[Sequence[float | None], int]]:
        """See Report; `test_correct` and `epsilon` where the job has them."""
        own: dict[str, tuple[Sequence[float | None], int]] = {"missing": (self.missing, 1)}
        if self.test_correct is not None:
            own["test_correct"] = (self.test_correct, 0)
        if self.epsilon is not None:
            own["epsilon"] = (self.epsilon, 1)
        return super().courses() | own
