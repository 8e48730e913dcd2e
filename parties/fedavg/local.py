"""A party computes on its own rows for federated averaging: statistics of columns, updates, losses."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from fedbus.algorithms.fedavg.budget import Budget
from fedbus.algorithms.fedavg.columns import Columns
from fedbus.algorithms.fedavg.messages import Assignment, Described, Task
from fedbus.algorithms.fedavg.moments import encode as encode_moments
from fedbus.algorithms.fedavg.spec import AverageJob
from fedbus.algorithms.fedavg.tasks import CLIPPED, METRICS, exponent_of, standardised, sum_layout
from fedbus.algorithms.sums.layout import SumLayout, block_ranges
from fedbus.algorithms.sums.limbs import LIMBS
from fedbus.algorithms.sums.limbs import encode as encode_limbs
from fedbus.errors import DataError, FixedPointOverflow, JobRefused, ProtocolError, TrainingDiverged
from fedbus.weights import Weights
from parties.data.tables import Tables
from parties.fedavg import moments, network, private_training, training
from parties.fedavg.scoring import Scale, label_of
from parties.sums.hiding import Pieces

# So that means and variances, in units of a column's power of two, are doubles.
_LARGEST = 2.0**500
# Parameters of a network whose layers one core computes as fast as several.
_SMALL = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows as the network is trained on them: columns, and the label, as the job standardises them."""

    features: np.ndarray
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.label)


def columns_of(spec: AverageJob, tables: Tables) -> Columns:
    """Return the columns of a party's tables, and what their names do not say."""
    names, how, recoding = tables.train.columns, tables.how, tables.recoding
    label = str(how.date_unit) if spec.label in how.dates else ""
    if recoding is None:
        return Columns(names, (*([""] * len(names)), label), ("",) * len(names))
    return Columns(names, (*recoding.date_units, label), recoding.references)


class Local:
    """A party's rows and its copy of the network.

    Args:
        processes: for arithmetic, as the party file says.
        trained: rounds that used up privacy, as a checkpoint has it.

    Raises:
        JobRefused: the network cannot be made, or does not fit the loss.
        DataError: a label that does not fit the loss, or values too large.

    Attributes:
        columns: as the coordinator is told of them.
        clipped: entries of updates that were cut to clip_range so far.
    """

    def __init__(self, spec: AverageJob, tables: Tables, party: str, processes: int | None, trained: int = 0) -> None:
        self.spec = spec
        self.party = party
        self.columns = columns_of(spec, tables)
        self.train = tables.train
        self.test = tables.test
        self.trained = trained
        self.clipped = 0
        # Rows of all parties, as the first order said.
        self._totals: tuple[int, int] | None = None
        self.module = network.build(spec.model, len(self.train.columns), spec.params.seed)
        self.outputs = network.check_outputs(self.module, len(self.train.columns), spec.params.loss)
        for table in (self.train, self.test):
            if table is not None:
                training.check_label(table, spec.params.loss, self.outputs)
        self.layout = network.layout(self.module)
        training.configure(threads_for(self.layout.parameters, processes))
        # What has a mean and a deviation in this job; the label comes last.
        self._standardised = standardised(spec, self.train.columns)
        self._scaled: tuple[bytes, Rows, Rows | None] | None = None
        self._budget = None
        if spec.privacy is not None:
            params = spec.params
            self._budget = Budget(spec.privacy, params.batch_size, [len(self.train)], params.local_epochs)

    def describe(self) -> Described:
        """Return what the coordinator is told of the tables; raise DataError where values are too large."""
        largest = np.abs(self.train.features).max(axis=0)
        if (largest > _LARGEST).any():
            column = self.train.columns[int(np.argmax(largest))]
            raise DataError(f"{self.train.name}: column '{column}' has values too large; change its unit")
        largest = np.append(largest, np.abs(label_of(self.train)).max())[self._standardised]
        exponents = tuple(exponent_of(float(value)) for value in largest)
        test_rows = len(self.test) if self.test else 0
        own = self.columns
        return Described(len(self.train), test_rows, own.names, own.date_units, own.references, exponents, self.outputs)

    def sum_layout(self, task: str) -> SumLayout:
        """Return the layout of a task's vectors, one of SUMMED."""
        return sum_layout(self.spec, task, int(self._standardised.sum()), self.layout.parameters, self.outputs)

    def check(self, model: Weights, sender: str) -> None:
        """Raise ProtocolError where a model is not of this network's shape."""
        model.check_like(self.layout, sender)

    def vector(
        self, order: Assignment, model: Weights | None, random: Callable[[int], bytes]
    ) -> tuple[SumLayout, Pieces]:
        """Compute this party's vector for a task: its residues, in pieces as the layout cuts them.

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
        shape = self.sum_layout(order.task)
        if model is None:
            return shape, self._statistics(order, shape)
        self.check(model, "the coordinator")
        try:
            return shape, self._trained(order, model, shape, random)
        except TrainingDiverged as error:
            raise TrainingDiverged(f"{error}; {remedy(self.spec)}") from error

    def _trained(self, order: Assignment, model: Weights, shape: SumLayout, random: Callable[[int], bytes]) -> Pieces:
        """Measure a model, and train it where that is the task."""
        train, test = self._rows(order)
        network.load(self.module, model, "the coordinator")
        metrics = [0.0] * shape.metrics
        if test is not None and len(test):
            found = training.evaluate(self.module, test.features, test.label, self.spec.params.loss)
            part = len(test) / order.test_rows
            metrics[1:3] = [found.loss * part, found.correct * part]
            if order.task == Task.EVALUATE:
                metrics[METRICS:] = [each * part for each in self._baseline(test.label, shape.metrics - METRICS)]
        share = len(self.train) / order.rows
        new = None
        if order.task == Task.TRAIN:
            metrics[0] = self._train(train, order, random) * share
            new = network.Flat(self.module)
        try:
            limbs = encode_limbs(metrics)
        except FixedPointOverflow as error:
            raise TrainingDiverged("training diverged: the loss is too large to be told") from error
        return self._update(shape, model.flat, new, share, limbs)

    def _train(self, rows: Rows, order: Assignment, random: Callable[[int], bytes]) -> float:
        """Train the network on this party's rows. Return the loss, 0 where privacy keeps it back."""
        spec = self.spec
        if spec.privacy is None:
            stream = training.stream_of(self.party, order.number)
            return training.train(self.module, rows.features, rows.label, spec.params, spec.strategy, stream).loss
        assert self._budget is not None  # noqa: S101  # made with the privacy
        if not self._budget.allows(self.trained + 1):
            raise JobRefused("one more round would pass the privacy budget (privacy.epsilon)")
        self.trained += 1
        mu = spec.strategy.mu if spec.strategy.name == "fedprox" else 0.0
        private_training.train_private(self.module, rows.features, rows.label, spec.params, spec.privacy, random, mu)
        return 0.0

    def _baseline(self, label: np.ndarray, count: int) -> list[float]:
        """Return what a prediction that is always the same is measured by; see tasks.baseline_metrics."""
        if self.spec.params.loss == "mse":
            return [float(np.maximum(each, 0.0).mean()) for each in (label, -label, np.square(label))]
        return [float(np.mean(label == number)) for number in range(count)]

    def _statistics(self, order: Assignment, shape: SumLayout) -> Pieces:
        """Return means or variances of columns and of the label, in units of each one's power of two."""
        chosen, share = self._standardised, Fraction(len(self.train), order.rows)
        exponents = np.array(order.exponents, dtype=np.int64)
        mean = np.append(order.mean, order.label_mean)[chosen]
        if len(exponents) != chosen.sum() or not (np.abs(mean) <= np.ldexp(1.0, exponents)).all():
            raise ProtocolError("the coordinator speaks of other columns than this party has")
        values = np.column_stack([self.train.features[:, chosen[:-1]], *([label_of(self.train)] if chosen[-1] else [])])
        if (np.abs(values).max(axis=0) > np.ldexp(1.0, exponents)).any():
            raise ProtocolError("the coordinator speaks of smaller columns than this party has")
        if order.task == Task.VARIANCE:
            found = [Fraction(float(each)) for each in np.concatenate(moments.squares(values, mean, exponents))]
        else:
            units = [Fraction(2) ** int(exponent) for exponent in exponents]
            found = [each / unit for each, unit in zip(moments.means(values), units, strict=True)]
        residues = encode_moments([each * share for each in found])
        for start, stop in shape.spans:
            yield start, residues[start:stop]

    def _update(
        self, shape: SumLayout, old: np.ndarray, new: network.Flat | None, share: float, limbs: np.ndarray
    ) -> Pieces:
        """Return the update in fixed point, then the metrics; piece by piece, so that no copy of the whole is made."""
        numbers, ring, cut = shape.numbers, shape.ring, 0
        for start, stop in shape.spans:
            residues = np.zeros(stop - start, ring.dtype)
            if new is not None:
                for first, last in block_ranges(start, min(stop, numbers)):
                    delta, outside = ring.clip(new.read(first, last).astype(np.float64) - old[first:last])
                    cut += outside
                    residues[first - start : last - start] = ring.encode(delta, share)
            if stop > numbers:
                if cut:
                    # All entries come before the metrics.
                    place = CLIPPED * LIMBS
                    limbs[place : place + LIMBS] = encode_limbs([cut / numbers * share])
                    self.clipped += cut
                    cut = 0
                residues[max(0, numbers - start) :] = limbs[max(0, start - numbers) : stop - numbers]
            yield start, residues

    def _rows(self, order: Assignment) -> tuple[Rows, Rows | None]:
        """Return both tables as the job standardises them, in float64: what is left of large values is exact."""
        place = np.array([order.label_mean, order.label_scale])
        key = order.mean.tobytes() + order.scale.tobytes() + place.tobytes()
        if self._scaled is None or self._scaled[0] != key:
            known = np.isfinite(order.mean).all() and (order.scale > 0).all()
            if not known or not math.isfinite(order.label_mean) or not 0 < order.label_scale < math.inf:
                raise ProtocolError("the coordinator sent means or deviations that are none")
            scale = Scale(order.mean, order.scale, order.label_mean, order.label_scale)
            test = None if self.test is None else Rows(*scale.rows(self.test))
            self._scaled = key, Rows(*scale.rows(self.train)), test
        return self._scaled[1], self._scaled[2]


def remedy(spec: AverageJob) -> str:
    """Say what to do about training that diverges in this job."""
    left = [] if spec.data.standardize else ["the columns (data.standardize)"]
    if spec.data.as_is and not left:
        left = ["the columns that data.as_is lists"]
    left += ["the label (data.standardize_label)"] if spec.params.loss == "mse" and not spec.scales_label else []
    return f"lower params.learning_rate{', or standardise ' + ' and '.join(left) if left else ''}"


def threads_for(parameters: int, processes: int | None) -> int:
    """Return how many threads torch is to compute with: for a small network the hand-over costs more than it gains."""
    return 1 if parameters <= _SMALL else max(1, processes or os.cpu_count() or 1)
