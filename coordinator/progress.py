"""How far a job of federated averaging has come, at the coordinator: what a checkpoint and the report have of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedbus import averaging
from fedbus.averaging import Task
from fedbus.columns import check_as_is, check_same
from fedbus.errors import JobRefused
from fedbus.jobs import AverageJob
from fedbus.messages import Described

_MOST_ROWS = 2**40
_EXPONENT = 1100


@dataclass(slots=True)
class Course:
    """The course of training.

    Attributes:
        columns: of all parties, in this order.
        exponents: of each column at all parties: no value exceeds the power of two.
        rows, test_rows: of each party.
        mean, scale: of each column; what a column is divided by is 1 where it is left as it is or has one value only.
        done: sums done before training, by name of the task.
        trained: training rounds done.
        evaluated: the last model is measured.
        loss: of each training round: mean over the rows during training; nan where privacy keeps it back.
        test_loss, test_correct: of each model from the first one on: mean over held-out rows, and part classified
            rightly; empty without held-out rows.
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
    mean: np.ndarray
    scale: np.ndarray
    done: list[str] = field(default_factory=list)
    trained: int = 0
    evaluated: bool = False
    loss: list[float] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)
    test_correct: list[float] = field(default_factory=list)
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
        """The course of a job that begins.

        Raises:
            JobRefused: the parties differ in their columns, or one has no rows.
        """
        check_same({party: message.columns for party, message in described.items()})
        columns = described[spec.parties[0]].columns
        for party, message in described.items():
            if not (0 < message.rows <= _MOST_ROWS and 0 <= message.test_rows <= _MOST_ROWS):
                raise JobRefused(f"{party} has no rows to train on, or more than there can be")
            if len(message.exponents) != len(columns) or not all(abs(each) <= _EXPONENT for each in message.exponents):
                raise JobRefused(f"{party} describes columns with exponents that no double has")
        check_as_is(spec.data.as_is, columns)
        exponents = np.max([message.exponents for message in described.values()], axis=0)
        rows = {party: message.rows for party, message in described.items()}
        test_rows = {party: message.test_rows for party, message in described.items()}
        zeros, ones = np.zeros(len(columns)), np.ones(len(columns))
        course = cls(columns, [int(exponent) for exponent in exponents], rows, test_rows, zeros, ones)
        course.took_part = dict.fromkeys(spec.parties, 0)
        return course

    def to_map(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Course:
        """From a checkpoint."""
        return cls(**{**fields, "columns": tuple(fields["columns"])})

    @property
    def has_tests(self) -> bool:
        return any(self.test_rows.values())

    def next_task(self, spec: AverageJob) -> Task:
        """What is to be done next."""
        if spec.data.standardize:
            for task in (Task.MEAN, Task.VARIANCE):
                if task not in self.done:
                    return task
        if Task.INITIALISE not in self.done:
            return Task.INITIALISE
        if self.trained < spec.params.rounds and not self.ended:
            return Task.TRAIN
        return Task.EVALUATE if self.has_tests and not self.evaluated else Task.CONCLUDE

    def sums_left(self, spec: AverageJob) -> int:
        """How many sums are still to come at most."""
        return 2 * (not self.done) + spec.params.rounds - self.trained + self.has_tests

    def weight(self, survivors: tuple[str, ...]) -> float:
        """What part of all rows these parties have."""
        shares = averaging.shares(self.rows)
        return sum(shares[party] for party in survivors)

    def measured(self, metrics: list[float], survivors: tuple[str, ...]) -> tuple[float, float | None]:
        """Enter what a sum measured of the model that it began with; the mean loss of training, and on held-out rows.

        Args:
            metrics: sums of the parties' shares: loss of training, loss and right classes on held-out rows.
        """
        loss = metrics[0] / self.weight(survivors)
        tests = averaging.shares(self.test_rows)
        weight = sum(tests[party] for party in survivors)
        if not weight:
            return loss, None
        self.test_loss.append(metrics[1] / weight)
        self.test_correct.append(metrics[2] / weight)
        return loss, self.test_loss[-1]

    def watch(self, loss: float, patience: int | None) -> bool:
        """Enter the watched loss of the model that a round began with; whether that model is the best so far."""
        if loss < self.best:
            self.best, self.best_model, self.calm = loss, self.trained, 0
            return True
        self.calm += 1
        if patience is not None and self.calm >= patience:
            self.ended = f"no better loss for {patience} rounds (params.patience)"
        return False

    def figures(self, spec: AverageJob) -> dict[str, Any]:
        """What the report says of training."""
        found: dict[str, Any] = {
            "rounds": self.trained,
            "ended": self.ended or "all rounds are done (params.rounds)",
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
        if self.epsilon:
            found["epsilon"] = self.epsilon
        return found


def _percentiles(seconds: list[float]) -> dict[str, float]:
    return {"p50": float(np.percentile(seconds or [0.0], 50)), "p99": float(np.percentile(seconds or [0.0], 99))}
