"""What both sides of federated averaging must agree on: vectors of each task, weights of parties, fixed point."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from fedbus.algorithms.fedavg import moments
from fedbus.algorithms.fedavg.messages import Task
from fedbus.algorithms.fedavg.spec import AverageJob
from fedbus.algorithms.sums.layout import SumLayout
from fedbus.crypto.residues import FixedRing

# Tasks that sum vectors; the others are told by messages of their own.
SUMMED = (Task.MEAN, Task.VARIANCE, Task.TRAIN, Task.EVALUATE)
# Loss of training, loss on held-out rows, part of the held-out rows that is classified rightly, part of the entries of
# an update that clip_range cut.
METRICS = 4
CLIPPED = 3
# Of the label of held-out rows, for what always predicting its mean would come to: the means of its positive part, of
# its negative part and of its square.
_LABEL_METRICS = 3
# Above this nobody counts them.
_MOST_CLASSES = 1000
# Parameters of a network whose updates are short, however many bits an entry takes.
_SMALL = 65_536
_MOST_BITS = 50
# A limb of a metric takes 16 bits of each party.
_LEAST_BITS = 32


def sum_layout(spec: AverageJob, task: str, columns: int, parameters: int, outputs: int = 1) -> SumLayout:
    """The layout of a task's sum: means and variances as limbs of moments.py, updates in fixed point.

    Args:
        columns: whose means and deviations are wanted, the label among them: see `standardised`.
        parameters, outputs: of the network.

    Raises:
        FixedPointOverflow: clip_range and fraction_bits do not fit 64 bits.
    """
    parties = len(spec.parties)
    if task in (Task.MEAN, Task.VARIANCE):
        # Of a variance the mean square, and the mean of what the mean itself lost when it was rounded.
        numbers = columns * moments.LIMBS * (2 if task == Task.VARIANCE else 1)
        return SumLayout(task, numbers, 0, FixedRing.plan(moments.LARGEST_LIMB, 0, parties, weighted=False))
    ring = FixedRing.plan(spec.params.clip_range, _fraction_bits(spec, parameters), parties)
    ring = FixedRing(max(ring.bits, _LEAST_BITS), ring.fraction_bits, ring.limit)
    if task == Task.TRAIN:
        return SumLayout(task, parameters, METRICS, ring)
    return SumLayout(task, 0, METRICS + baseline_metrics(spec, outputs), ring)


def baseline_metrics(spec: AverageJob, outputs: int) -> int:
    """How many numbers tell what a prediction that is always the same comes to on held-out rows.

    Of classes it is how often each occurs.
    """
    if spec.params.loss == "mse":
        return _LABEL_METRICS
    classes = max(2, outputs)
    return classes if classes <= _MOST_CLASSES else 0


def standardised(spec: AverageJob, columns: Sequence[str]) -> np.ndarray:
    """Which columns, and last of all whether the label, are standardised: (columns + 1,) bool."""
    as_is = np.isin(columns, spec.data.as_is)
    return np.append(spec.data.standardize & ~as_is, spec.scales_label)


def _fraction_bits(spec: AverageJob, parameters: int) -> int:
    """Return the fraction bits of updates: the job's, or what residues of 32 or 64 bits have room for beside
    clip_range.

    Rounding to 2^-50 is that of a double: averages are then those that floating point gives.
    """
    if spec.params.fraction_bits is not None:
        return spec.params.fraction_bits
    bits = 64 if parameters <= _SMALL else 32
    # One bit for the sign, one for what rounding adds to a sum that is full already.
    return max(1, min(_MOST_BITS, bits - 2 - exponent_of(spec.params.clip_range)))


def row_shares(rows: Mapping[str, int]) -> dict[str, float]:
    """What part of all rows each party has; 0 of none. The weights of the average are these of those who answer."""
    total = sum(rows.values())
    return {party: count / total if total else 0.0 for party, count in rows.items()}


def exponent_of(largest: float) -> int:
    """The least exponent of a power of two that no magnitude up to this one exceeds."""
    if not largest:
        return 0
    mantissa, exponent = math.frexp(largest)
    return exponent - 1 if mantissa == 0.5 else exponent
