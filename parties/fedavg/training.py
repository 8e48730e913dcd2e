"""A party's own part of federated averaging is to train the network on its rows, and to measure it.

McMahan, Moore, Ramage, Hampson, Agüera y Arcas, "Communication-efficient learning of deep networks from decentralized
data", AISTATS 2017, algorithm 1 (ClientUpdate); the proximal term is of Li et al., "Federated optimization in
heterogeneous networks", MLSys 2020, algorithm 2.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedbus.errors import DataError, JobRefused, TrainingDiverged
from parties.data.table import Table
from parties.fedavg import network
from parties.fedavg.steps import Stepper

if TYPE_CHECKING:
    from fedbus.algorithms.fedavg.spec import AverageParams, Strategy

# Rows that are put in their new order, or measured, at once: a table is not held twice.
_BLOCK_ROWS = 1 << 14

_Loss = Callable[..., Tensor]
LOSSES: dict[str, _Loss] = {
    "mse": functional.mse_loss,
    "cross_entropy": functional.cross_entropy,
    "bce": functional.binary_cross_entropy_with_logits,
}
_LABELS = {
    "cross_entropy": "classes are whole numbers from 0 on",
    "bce": "classes are 0 and 1",
}


_DRAWING_NOTHING = (nn.Sequential, nn.Linear, nn.LayerNorm, nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.LeakyReLU)


@dataclass(frozen=True, slots=True)
class Trained:
    """It holds what a party tells of its training.

    Attributes:
        loss: mean over the rows of the last local epoch, each before the step that it is part of; without the proximal
            term and weight decay.
        seconds: that it took.
    """

    loss: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A network measured on rows.

    Attributes:
        loss: mean over the rows.
        correct: part of the rows whose class is the predicted one; 0 for "mse".
    """

    loss: float
    correct: float


def configure(threads: int) -> None:
    """Say how many threads torch computes with in this process; to be called once, before anything is computed."""
    torch.set_num_threads(threads)


def stream_of(party: str, round_: int) -> int:
    """Return the number of a party's order of rows in a round, 64 bits; it is the same wherever it is asked for."""
    return _digest(f"fedbus rows {round_} {party}")


def train(
    module: nn.Module,
    features: np.ndarray,
    label: np.ndarray,
    params: AverageParams,
    strategy: Strategy,
    stream: int,
) -> Trained:
    """Train the network in place: `local_epochs` over all rows in batches, the last one as short as it has to be.

    The order of the rows is new in each epoch and follows from the job's seed and `stream`, and so does dropout.

    Args:
        features: (rows, columns) float64, at least one row.
        label: (rows,) float64; for classes see `check_label`.
        stream: see `stream_of`.

    Raises:
        TrainingDiverged: the loss or a weight is not finite; the network is of no use then.
        JobRefused: a batch normalisation would see a batch of one row.
    """
    began = time.perf_counter()
    rows, size = len(label), params.batch_size
    if not rows:
        raise ValueError("there are no rows to train on")
    _check_batches(module, rows, size)
    inputs, targets = as_inputs(features), as_target(label, params.loss)
    generator = torch.Generator().manual_seed(_digest(f"fedbus seed {params.seed} {stream}") >> 1)
    measure, stepper = LOSSES[params.loss], Stepper(module, params, strategy.mu if strategy.name == "fedprox" else 0)
    loss = 0.0
    module.train()
    # Other networks of the process, in a simulation, need not wait for one that draws nothing.
    with network.seeded(generator.initial_seed()) if _draws(module) else nullcontext():
        for _ in range(params.local_epochs):
            order = torch.randperm(rows, generator=generator)
            losses = []
            for batch, target in _batches(inputs, targets, order, size):
                value = measure(module(batch), target)
                stepper.step(torch.autograd.grad(value, stepper.parameters, allow_unused=True))
                losses.append(value.detach())
            loss = _mean(losses, rows, size)
            if not math.isfinite(loss):
                break
    check_finite(module, loss)
    return Trained(loss, time.perf_counter() - began)


@torch.no_grad()
def evaluate(module: nn.Module, features: np.ndarray, label: np.ndarray, loss: str) -> Evaluation:
    """Measure the network on rows, (rows, columns) and (rows,) float64, at least one row.

    Raises:
        TrainingDiverged: the loss is not finite.
    """
    if not len(label):
        raise ValueError("there are no rows to measure")
    measure, total, right = LOSSES[loss], 0.0, 0
    for outputs, start in _outputs(module, features):
        part = label[start : start + len(outputs)]
        truth = as_target(part, loss) if loss == "cross_entropy" else torch.from_numpy(part).unsqueeze(1)
        total += float(measure(outputs.double(), truth, reduction="sum"))
        if loss == "cross_entropy":
            right += int((outputs.argmax(dim=1) == truth).sum())
        elif loss == "bce":
            right += int(((outputs > 0) == (truth > 0.5)).sum())
    if not math.isfinite(total):
        raise _diverged("loss on held-out rows")
    return Evaluation(total / len(label), right / len(label))


@torch.no_grad()
def predict(module: nn.Module, features: np.ndarray) -> np.ndarray:
    """Compute raw outputs (rows, outputs) float32 for features (rows, columns): logits where the loss is of classes."""
    return np.concatenate([outputs.float().numpy() for outputs, _ in _outputs(module, features)])


def check_label(table: Table, loss: str, outputs: int) -> None:
    """Make sure that the label of a table can be learnt with this loss and so many outputs.

    Raises:
        DataError: names the data set and the row; a value is no class, or there are no rows.
    """
    label = table.label
    assert label is not None  # noqa: S101  # every party of such a job has it
    if not len(label):
        raise DataError(f"{table.name}: has no rows; a party trains on at least one")
    if loss == "mse":
        return
    classes = outputs if loss == "cross_entropy" else 2
    wrong = ~((label >= 0) & (label < classes) & (label == np.rint(label)))
    if wrong.any():
        raise DataError(
            f"{table.name}: {int(wrong.sum())} of {len(label)} labels are no class, the first in row "
            f"{table.row(int(np.argmax(wrong)))}: with the loss {loss} and {outputs} "
            f"{'output' if outputs == 1 else 'outputs'} {_LABELS[loss]}"
            f"{f' to {classes - 1}' if loss == 'cross_entropy' else ''}; number the classes so, or choose another loss"
        )


def as_inputs(features: np.ndarray) -> Tensor:
    """Return features (rows, columns) as a network takes them, float32; a copy. Too large ones become infinite."""
    with np.errstate(over="ignore"):
        return torch.from_numpy(features.astype(np.float32))


def as_target(label: np.ndarray, loss: str) -> Tensor:
    """Return a label (rows,) as the loss takes it: (rows,) int64 for cross_entropy, otherwise (rows, 1) float32."""
    if loss == "cross_entropy":
        return torch.from_numpy(label.astype(np.int64))
    return as_inputs(label).unsqueeze(1)


def check_finite(module: nn.Module, loss: float) -> None:
    """Raise TrainingDiverged where the loss or an entry of the network's state is not finite."""
    if not math.isfinite(loss):
        raise _diverged("loss")
    for name, tensor in module.state_dict().items():
        # A sum would overflow; the extremes take no memory and are NaN where any entry is.
        if tensor.is_floating_point() and tensor.numel() and not torch.stack(tensor.aminmax()).isfinite().all():
            raise _diverged(name)


def _diverged(what: str) -> TrainingDiverged:
    return TrainingDiverged(f"training diverged: {what} is not finite")


def _draws(module: nn.Module) -> bool:
    """Whether the network draws random numbers: a dropout does, and what else may be in one is not known."""
    return any(not isinstance(each, _DRAWING_NOTHING) for each in module.modules())


def _check_batches(module: nn.Module, rows: int, size: int) -> None:
    lonely = size == 1 or rows % size == 1
    if lonely and any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules()):
        raise JobRefused(
            f"params.batch_size: {rows} rows in batches of {size} leave one of a single row, which batch normalisation "
            "cannot train on; choose another batch size, or layer_norm"
        )


def _batches(inputs: Tensor, targets: Tensor, order: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows in their order, batch by batch; gathered in blocks of many batches, for gathering each costs more."""
    for block in torch.split(order, max(_BLOCK_ROWS // size, 1) * size):
        yield from zip(torch.split(inputs[block], size), torch.split(targets[block], size), strict=True)


def _mean(losses: Sequence[Tensor], rows: int, size: int) -> float:
    """The mean over rows of the mean losses of batches, of which the last may be short."""
    values = torch.stack(list(losses)).double()
    counts = torch.full_like(values, size)
    counts[-1] = rows - size * (len(losses) - 1)
    return float((values * counts).sum() / rows)


def _outputs(module: nn.Module, features: np.ndarray) -> Iterator[tuple[Tensor, int]]:
    """Outputs of a block of rows and where it starts; the network measures (no dropout) and returns to what it was."""
    training = module.training
    module.eval()
    try:
        for start in range(0, max(len(features), 1), _BLOCK_ROWS):
            yield module(as_inputs(features[start : start + _BLOCK_ROWS])), start
    finally:
        module.train(training)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
