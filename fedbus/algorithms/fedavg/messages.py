"""What travels in federated averaging, parties/fedavg/member.py.

The coordinator leads: what it sends are orders, one a session round, and parties answer in the round of the order.
What hides the vectors on their way is in fedbus/algorithms/sums/messages.py.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta

from fedbus.messages.envelope import COORDINATOR, PARTIES, Message
from fedbus.messages.fields import (
    ColumnNames,
    Count,
    DateUnits,
    Exponents,
    Finite,
    Names,
    Round,
    check_finite,
)


class Task(enum.StrEnum):
    """What is summed in federated averaging.

    MEAN and VARIANCE are of columns and of the label, TRAIN is a training round, EVALUATE only measures a model;
    INITIALISE and CONCLUDE sum nothing: one party makes the first weights, and all keep the last.
    """

    MEAN = "mean"
    VARIANCE = "variance"
    INITIALISE = "initialise"
    TRAIN = "train"
    EVALUATE = "evaluate"
    CONCLUDE = "conclude"


TaskName = Annotated[str, Meta(pattern=rf"\A({'|'.join(Task)})\Z")]


@dataclass(frozen=True, slots=True)
class Described(Message):
    """Party to coordinator: its rows and columns.

    Attributes:
        date_units, references: of the columns, and the label; see fedbus.algorithms.fedavg.columns.
        exponents: of each column that the job standardises, and last of all of the label where it does that, of a
            power of two that no value exceeds.
        outputs: of the network.
    """

    kind: ClassVar[str] = "described"
    senders: ClassVar[tuple[str, ...]] = PARTIES
    rows: Count
    test_rows: Count
    columns: ColumnNames
    date_units: DateUnits
    references: ColumnNames
    exponents: Exponents
    outputs: Count


@dataclass(frozen=True, slots=True)
class Assignment(Message):
    """Order: answer with a vector that is to be summed; followed by GlobalWeights where the task is on a model.

    Attributes:
        task: a Task.
        number: of the training round, counted from 0.
        window, slot: which of the keys mask it; -1 and 0 where nothing is masked.
        members: who were asked.
        rows, test_rows: of all parties together.
        exponents: as in Described, the largest of all parties, for MEAN and VARIANCE.
        mean, scale: (columns,) float64, of all parties' rows, as far as they are known already; a column of one value
            has the scale moments.IMMENSE.
        label_mean, label_scale: the same of the label; 0 and 1 where it is left as it is.
        model: that the task is on, as safetensors, where it is short; otherwise it follows as GlobalWeights.
        best: with CONCLUDE, the number of the model that follows as BestWeights; -1 where none does.
    """

    kind: ClassVar[str] = "assignment"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR,)
    task: TaskName
    number: Count
    window: Round
    slot: Count
    members: Names
    rows: Count
    test_rows: Count
    exponents: Exponents
    mean: np.ndarray
    scale: np.ndarray
    label_mean: Finite = 0.0
    label_scale: Finite = 1.0
    model: bytes = b""
    best: Round = -1

    def check(self) -> None:
        check_finite(self.mean, "mean")
        check_finite(self.scale, "scale", len(self.mean))


@dataclass(frozen=True, slots=True)
class GlobalWeights(Message):
    """Coordinator to parties, and once from a party: a piece of a model as safetensors."""

    kind: ClassVar[str] = "global_weights"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR, *PARTIES)
    data: bytes


@dataclass(frozen=True, slots=True)
class BestWeights(Message):
    """Coordinator to parties at the end: a piece of the model with the best loss, where that is not the last one."""

    kind: ClassVar[str] = "best_weights"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR,)
    data: bytes
