"""How far a job of federated averaging has come at the coordinator, as its checkpoint and its report have it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from fedbus.algorithms.fedavg.columns import Columns, check_as_is, check_same
from fedbus.algorithms.fedavg.messages import Described, Task
from fedbus.algorithms.fedavg.moments import IMMENSE
from fedbus.algorithms.fedavg.spec import AverageJob
from fedbus.algorithms.fedavg.tasks import METRICS, row_shares, standardised
from fedbus.errors import JobRefused

_MOST_ROWS = 2**40
_ROUNDING = 1e-9
_EXPONENTS = range(-1100, 501)


@dataclass(slots=True)
class Course:
    """How far training has come.

    Attributes:
        columns: of all parties, in this order.
        exponents: of what is standardised at all parties, columns and label: no value exceeds the power of two.
        rows, test_rows: of each party.
        outputs: of the network.
        mean, scale: of each column; 0 and 1 where it is left as it is.
        label_mean, label_scale: the same of the label.
        constant: columns that have one value in all rows of all parties; the scale of such a column is IMMENSE, so
            that it is 0 whatever rows come.
        label_constant: the label has one value in all rows of all parties.
        done: sums done before training, by name of the task.
        trained: training rounds done.
        evaluated: the last model is measured.
        loss: of each training round: mean over the rows during training; nan where privacy keeps it back. With "mse"
            it is in the label's unit, squared, and so is test_loss.
        test_loss, test_correct: of each model from the first one on: mean over held-out rows, and part classified
            rightly; empty without held-out rows.
        baseline: what a prediction that is always the same comes to on held-out rows: with "mse" the mean squared error
            of their mean, otherwise the part of them that is of the most frequent class; None where it is not known.
        clipped: of each training round: part of the entries of the parties' updates that clip_range cut.
        seconds, overhead: of each training round: all of it, and what is left without the slowest party's computation.
        members, missing: of each training round: who was asked, and how many of them did not answer.
        best: the lowest loss that was watched, and the model that had it, counted in training rounds.
        calm: rounds since then.
        ended: why training ended.
        epsilon: of each training round, what is spent of the privacy budget.
        took_part: in how many training rounds each party's update was.
        without: whose update the last of them were without, though they were to be in it.
    """

    columns: tuple[str, ...]
    exponents: list[int]
    rows: dict[str, int]
    test_rows: dict[str, int]
    outputs: int
    mean: np.ndarray
    scale: np.ndarray
    label_mean: float = 0.0
    label_scale: float = 1.0
    constant: list[str] = field(default_factory=list)
    label_constant: bool = False
    done: list[str] = field(default_factory=list)
    trained: int = 0
    evaluated: bool = False
    loss: list[float] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)
    test_correct: list[float] = field(default_factory=list)
    baseline: float | None = None
    clipped: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    overhead: list[float] = field(default_factory=list)
    members: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    best: float = math.inf
    best_model: int = 0
    calm: int = 0
    ended: str = ""
    epsilon: list[float] = field(default_factory=list)
    took_part: dict[str, int] = field(default_factory=dict)
    without: list[str] = field(default_factory=list)

    @classmethod
    def begin(cls, spec: AverageJob, described: dict[str, Described]) -> Course:
        """Return the course of a job that begins.

        Raises:
            JobRefused: the parties differ in their columns, or one has no rows.
        """
        check_same(
            {party: Columns(each.columns, each.date_units, each.references) for party, each in described.items()}
        )
        columns, outputs = described[spec.parties[0]].columns, described[spec.parties[0]].outputs
        check_as_is(spec.data.as_is, columns)
        wanted = int(standardised(spec, columns).sum())
        for party, message in described.items():
            if not (0 < message.rows <= _MOST_ROWS and 0 <= message.test_rows <= _MOST_ROWS):
                raise JobRefused(f"{party} has no rows to train on, or more than there can be")
            if len(message.exponents) != wanted or not all(each in _EXPONENTS for each in message.exponents):
                raise JobRefused(f"{party} describes columns with exponents that no column of this job has")
            if message.outputs != outputs:
                raise JobRefused(
                    f"the network has {outputs} outputs at {spec.parties[0]} and {message.outputs} at {party}; all "
                    "parties need the same version of model.factory"
                )
        exponents = np.max([message.exponents for message in described.values()], axis=0)
        rows = {party: message.rows for party, message in described.items()}
        test_rows = {party: message.test_rows for party, message in described.items()}
        zeros, ones = np.zeros(len(columns)), np.ones(len(columns))
        course = cls(columns, [int(exponent) for exponent in exponents], rows, test_rows, outputs, zeros, ones)
        course.took_part = dict.fromkeys(spec.parties, 0)
        return course

    def to_map(self) -> dict[str, Any]:
        """Return the course as a map, for a checkpoint."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Course:
        """Return the course that a checkpoint has."""
        return cls(**{**fields, "columns": tuple(fields["columns"])})

    @property
    def has_tests(self) -> bool:
        return any(self.test_rows.values())

    def next_task(self, spec: AverageJob) -> Task:
        """Return what is to be done next."""
        if self.exponents:
            for task in (Task.MEAN, Task.VARIANCE):
                if task not in self.done:
                    return task
        if Task.INITIALISE not in self.done:
            return Task.INITIALISE
        if self.trained < spec.params.rounds and not self.ended:
            return Task.TRAIN
        return Task.EVALUATE if self.has_tests and not self.evaluated else Task.CONCLUDE

    def sums_left(self, spec: AverageJob) -> int:
        """Return how many sums are still to come at most."""
        return 2 * (not self.trained) + spec.params.rounds - self.trained + self.has_tests

    def weight(self, survivors: tuple[str, ...]) -> float:
        """Return what part of all rows these parties have."""
        parts = row_shares(self.rows)
        return sum(parts[party] for party in survivors)

    def enter_moments(self, spec: AverageJob, task: Task, sums: Sequence[Fraction], survivors: Sequence[str]) -> None:
        """Enter means, or deviations, of what is standardised from sums in units of each one's power of two.

        Args:
            sums: of means; or of mean squares and then of mean differences, see parties/fedavg/moments.py.
        """
        weight = Fraction(sum(self.rows[party] for party in survivors), sum(self.rows.values()))
        chosen = standardised(spec, self.columns)
        units = [Fraction(2) ** exponent for exponent in self.exponents]
        mean, scale = np.append(self.mean, self.label_mean), np.append(self.scale, self.label_scale)
        if task is Task.MEAN:
            mean[chosen] = [float(each / weight * unit) for each, unit in zip(sums, units, strict=True)]
        else:
            squares, rests = sums[: len(units)], sums[len(units) :]
            parts = [square / weight - (rest / weight) ** 2 for square, rest in zip(squares, rests, strict=True)]
            deviations = [math.sqrt(max(part, Fraction(0))) * unit for part, unit in zip(parts, units, strict=True)]
            scale[chosen] = [deviation or IMMENSE for deviation in deviations]
            self.constant = [name for name, each in zip(self.columns, scale[:-1], strict=True) if each == IMMENSE]
            self.label_constant = bool(scale[-1] == IMMENSE)
        self.mean, self.scale, self.label_mean = mean[:-1], scale[:-1], float(mean[-1])
        self.label_scale = float(scale[-1]) if scale[-1] < IMMENSE else 1.0
        self.done.append(task)

    def measured(self, loss_name: str, metrics: list[float], survivors: tuple[str, ...]) -> tuple[float, float | None]:
        """Enter what a sum measured of the model that it began with. Return the losses of training and on held-out
        rows.

        Args:
            loss_name: of params.loss.
            metrics: sums of the parties' shares, see METRICS.
        """
        unit = self.label_scale**2
        loss = metrics[0] / self.weight(survivors) * unit
        tests = row_shares(self.test_rows)
        weight = sum(tests[party] for party in survivors)
        if not weight:
            return loss, None
        self.test_loss.append(metrics[1] / weight * unit)
        self.test_correct.append(metrics[2] / weight)
        if of_label := [each / weight for each in metrics[METRICS:]]:
            self.baseline = max(of_label)
            if loss_name == "mse":
                positive, negative, square = of_label
                variance = square - (positive - negative) ** 2
                # What is left of a large mean may be rounding only.
                self.baseline = variance * unit if variance > _ROUNDING * square else None
        return loss, self.test_loss[-1]

    def watch(self, loss: float, patience: int | None) -> bool:
        """Enter the watched loss of the model that a round began with. Return whether that model is the best so far."""
        if loss < self.best:
            self.best, self.best_model, self.calm = loss, self.trained, 0
            return True
        self.calm += 1
        if patience is not None and self.calm >= patience:
            self.ended = f"no better loss for {patience} rounds (params.patience)"
        return False

    def _rounds_done(self, spec: AverageJob) -> str:
        if self.trained >= spec.params.rounds:
            return "all rounds are done (params.rounds)"
        return f"the job ended after {self.trained} of {spec.params.rounds} rounds"

    def figures(self, spec: AverageJob) -> dict[str, Any]:
        """Return what the report says of training."""
        found: dict[str, Any] = {
            "rounds": self.trained,
            "ended": self.ended or self._rounds_done(spec),
            "loss": [None if math.isnan(loss) else loss for loss in self.loss],
            "round_latency_seconds": _percentiles(self.seconds),
            "round_overhead_seconds": _percentiles(self.overhead),
            "members": self.members,
            "missing": self.missing,
            "took_part": self.took_part,
        }
        if self.has_tests:
            found["test_loss"] = self.test_loss
        if self.has_tests and spec.params.loss != "mse":
            found["test_correct"] = self.test_correct
        if self.baseline is not None:
            found["test_baseline"] = self.baseline
        if self.constant:
            found["constant_columns"] = self.constant
        if self.epsilon:
            found["epsilon"] = self.epsilon
        return found


def _percentiles(seconds: list[float]) -> dict[str, float]:
    return {"p50": float(np.percentile(seconds or [0.0], 50)), "p99": float(np.percentile(seconds or [0.0], 99))}
