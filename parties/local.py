"""What a party computes on its own rows for federated averaging: statistics of columns, updates, losses."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import numpy as np

from fedbus import metric_limbs
from fedbus.averaging import METRICS, Plan, Task, block_ranges, exponent_of, plan
from fedbus.budget import Budget
from fedbus.errors import DataError, FixedPointOverflow, JobRefused, ProtocolError, TrainingDiverged
from fedbus.jobs import AverageJob
from fedbus.messages import Assignment, Described
from fedbus.weights import Weights
from parties import network, private_training, training
from parties.data import Table
from parties.tables import Tables

Pieces = Iterator[tuple[int, np.ndarray]]

# So that means and variances, in units of a column's power of two, are doubles.
_LARGEST = 2.0**500
# Parameters of a network whose layers one core computes as fast as several.
_SMALL = 100_000


class Local:
    """A party's rows and its copy of the network.

    Args:
        processes: for arithmetic, as the party file says.
        trained: rounds that used up privacy, as a checkpoint has it.

    Raises:
        JobRefused: the network cannot be made, or does not fit the loss.
        DataError: a label that does not fit the loss, or values too large.

    Attributes:
        clipped: entries of updates that were cut to clip_range so far.
    """

    def __init__(self, spec: AverageJob, tables: Tables, party: str, processes: int | None, trained: int = 0) -> None:
        self.spec = spec
        self.party = party
        self.train = tables.train
        self.test = tables.test
        self.trained = trained
        self.clipped = 0
        # Rows of all parties, as the first order said.
        self._totals: tuple[int, int] | None = None
        self.module = network.build(spec.model, len(self.train.columns), spec.params.seed)
        outputs = network.check_outputs(self.module, len(self.train.columns), spec.params.loss)
        for table in (self.train, self.test):
            if table is not None:
                training.check_label(table, spec.params.loss, outputs)
        self.layout = network.layout(self.module)
        training.configure(threads_for(self.layout.parameters, processes))
        self._scaled: tuple[bytes, np.ndarray, np.ndarray | None] | None = None
        self._budget = None
        if spec.privacy is not None:
            params = spec.params
            self._budget = Budget(spec.privacy, params.batch_size, [len(self.train)], params.local_epochs)

    def describe(self) -> Described:
        """What the coordinator is told of the tables; raises DataError where values are too large."""
        largest = np.abs(self.train.features).max(axis=0)
        if (largest > _LARGEST).any():
            column = self.train.columns[int(np.argmax(largest))]
            raise DataError(f"{self.train.name}: column '{column}' has values too large; change its unit")
        exponents = tuple(exponent_of(float(value)) for value in largest)
        return Described(len(self.train), len(self.test) if self.test else 0, self.train.columns, exponents)

    def plan(self, task: str) -> Plan:
        """The shape of a task's vector."""
        return plan(self.spec, task, len(self.train.columns), self.layout.parameters)

    def plan_of_length(self, numbers: int) -> Plan:
        """The shape of a vector that has so many entries; ProtocolError where no task has one."""
        for task in (Task.MEAN, Task.VARIANCE, Task.TRAIN, Task.EVALUATE):
            if (shape := self.plan(task)).length == numbers:
                return shape
        raise ProtocolError(f"no task of this job has a sum of {numbers} entries")

    def check(self, model: Weights, sender: str) -> None:
        """ProtocolError where a model is not of this network's shape."""
        model.check_like(self.layout, sender)

    def vector(self, order: Assignment, model: Weights | None, random: Callable[[int], bytes]) -> tuple[Plan, Pieces]:
        """This party's vector for a task, its residues in pieces as the plan cuts them.

        Args:
            model: that the task is on.
            random: secret bytes for the noise of differential privacy.

        Raises:
            TrainingDiverged: the network's weights or loss are not finite.
            JobRefused: the privacy budget does not allow the round.
            ProtocolError: an order that does not fit this party's table.
        """
        self._totals = self._totals or (order.rows, order.test_rows)
        if (order.rows, order.test_rows) != self._totals or order.rows < len(self.train):
            raise ProtocolError("the coordinator speaks of other rows of all parties than there are")
        if len(order.mean) != len(self.train.columns) or len(order.scale) != len(self.train.columns):
            raise ProtocolError("the coordinator speaks of other columns than this party has")
        shape = self.plan(order.task)
        if model is None:
            return shape, self._statistics(order, shape)
        self.check(model, "the coordinator")
        features, test_features = self._features(order)
        network.load(self.module, model, "the coordinator")
        metrics = [0.0] * METRICS
        if self.test is not None and test_features is not None and len(self.test):
            found = training.evaluate(self.module, test_features, _label(self.test), self.spec.params.loss)
            part = len(self.test) / order.test_rows
            metrics[1:] = [found.loss * part, found.correct * part]
        share = len(self.train) / order.rows
        new = None
        if order.task == Task.TRAIN:
            metrics[0] = self._train(features, order, random) * share
            new = network.Flat(self.module)
        try:
            limbs = metric_limbs.encode(metrics)
        except FixedPointOverflow as error:
            raise TrainingDiverged("the loss is too large to be told; lower params.learning_rate") from error
        return shape, self._update(shape, model.flat, new, share, limbs)

    def _train(self, features: np.ndarray, order: Assignment, random: Callable[[int], bytes]) -> float:
        """Train the network on this party's rows; the loss, 0 where privacy keeps it back."""
        spec = self.spec
        if spec.privacy is None:
            stream = training.stream_of(self.party, order.number)
            return training.train(self.module, features, _label(self.train), spec.params, spec.strategy, stream).loss
        assert self._budget is not None  # noqa: S101  # made with the privacy
        if not self._budget.allows(self.trained + 1):
            raise JobRefused("one more round would pass the privacy budget (privacy.epsilon)")
        self.trained += 1
        mu = spec.strategy.mu if spec.strategy.name == "fedprox" else 0.0
        private_training.train_private(self.module, features, _label(self.train), spec.params, spec.privacy, random, mu)
        return 0.0

    def _statistics(self, order: Assignment, shape: Plan) -> Pieces:
        """Means or variances of columns, in units of each column's power of two."""
        if len(order.exponents) != len(self.train.columns):
            raise ProtocolError("the coordinator speaks of other columns than this party has")
        units = np.ldexp(1.0, list(order.exponents))
        scaled = self.train.features / units
        values = scaled.mean(axis=0)
        if order.task == Task.VARIANCE:
            values = np.square(scaled - order.mean / units).mean(axis=0)
        residues = shape.ring.encode(values, len(self.train) / order.rows)
        for start, stop in shape.spans:
            yield start, residues[start:stop]

    def _update(
        self, shape: Plan, old: np.ndarray, new: network.Flat | None, share: float, limbs: np.ndarray
    ) -> Pieces:
        """The update in fixed point, then the metrics; piece by piece, so that no copy of the whole is made."""
        numbers, ring = shape.numbers, shape.ring
        for start, stop in shape.spans:
            residues = np.zeros(stop - start, ring.dtype)
            if new is not None:
                for first, last in block_ranges(start, min(stop, numbers)):
                    delta, cut = ring.clip(new.read(first, last).astype(np.float64) - old[first:last])
                    self.clipped += cut
                    residues[first - start : last - start] = ring.encode(delta, share)
            if stop > numbers:
                residues[max(0, numbers - start) :] = limbs[max(0, start - numbers) : stop - numbers]
            yield start, residues

    def _features(self, order: Assignment) -> tuple[np.ndarray, np.ndarray | None]:
        """Columns of both tables as the job standardises them."""
        key = order.mean.tobytes() + order.scale.tobytes()
        if self._scaled is None or self._scaled[0] != key:
            if not (np.isfinite(order.mean).all() and (order.scale > 0).all()):
                raise ProtocolError("the coordinator sent columns' means or deviations that are none")
            test = None if self.test is None else (self.test.features - order.mean) / order.scale
            self._scaled = key, (self.train.features - order.mean) / order.scale, test
        return self._scaled[1], self._scaled[2]


def threads_for(parameters: int, processes: int | None) -> int:
    """How many threads torch is to compute with: for a small network the hand-over costs more than it gains."""
    return 1 if parameters <= _SMALL else max(1, processes or os.cpu_count() or 1)


def _label(table: Table) -> np.ndarray:
    assert table.label is not None  # noqa: S101  # every party of such a job has it
    return table.label
