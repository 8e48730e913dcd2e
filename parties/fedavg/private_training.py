"""Local training by DP-SGD hides each row.

Abadi, Chu, Goodfellow, McMahan, Mironov, Talwar, Zhang, "Deep learning with differential privacy", CCS 2016,
algorithm 1. What it costs in epsilon is counted by fedbus/algorithms/fedavg/budget.py.

Gaussian noise made of floating point numbers tells a little more than real numbers would (Mironov, "On significance of
the least significant bits for differential privacy", CCS 2012); the fixed point of a masked or encrypted aggregation
rounds these bits away.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from fedbus.errors import JobRefused
from parties.fedavg import network
from parties.fedavg.steps import Stepper
from parties.fedavg.training import LOSSES, Trained, as_inputs, as_target, check_finite

if TYPE_CHECKING:
    from fedbus.algorithms.fedavg.spec import AverageParams, Privacy

# Of gradients of single rows that are held at once.
SLICE_BYTES = 64 << 20
_NOISE_BLOCK = 1 << 18

Random = Callable[[int], bytes]


def train_private(
    module: nn.Module,
    features: np.ndarray,
    label: np.ndarray,
    params: AverageParams,
    privacy: Privacy,
    random: Random,
    mu: float = 0,
) -> Trained:
    """Train the network in place, so that what comes out hardly depends on any single row.

    Each of ceil(rows / batch_size) steps of an epoch draws every row with probability q = min(1, batch_size / rows),
    clips the gradient of each to max_grad_norm, adds them up, adds noise of standard deviation noise_multiplier *
    max_grad_norm to every entry, divides by the expected number of rows, q * rows, and has the optimiser take a step.

    Args:
        features: (rows, columns) float64, at least one row.
        label: (rows,) float64; for classes see training.check_label.
        random: gives so many bytes that nobody can predict; whoever knows them can take the noise off.
        mu: of FedProx's proximal term, which depends on no row.

    Returns:
        The loss is 0: a loss of the rows themselves would not be private, and is not told.

    Raises:
        JobRefused: the network mixes the rows of a batch, so that there is no gradient of a single one.
        TrainingDiverged: a weight is not finite.
    """
    began = time.perf_counter()
    rows = len(label)
    if not rows:
        raise ValueError("there are no rows to train on")
    check_rows_apart(module)
    inputs, targets = as_inputs(features), as_target(label, params.loss)
    rate = min(1.0, params.batch_size / rows)
    stepper = Stepper(module, params, mu)
    module.train()
    with network.seeded(int.from_bytes(random(8), "little") >> 1):
        for _ in range(params.local_epochs * math.ceil(rows / params.batch_size)):
            drawn = torch.from_numpy(draw(rows, rate, random))
            total = clipped_sum(module, inputs[drawn], targets[drawn], params.loss, privacy.max_grad_norm)
            for gradient in total:
                add_noise(gradient, privacy.noise_multiplier * privacy.max_grad_norm, random)
                gradient /= min(params.batch_size, rows)
            stepper.step(total)
    check_finite(module, 0.0)
    return Trained(0.0, time.perf_counter() - began)


def check_rows_apart(module: nn.Module) -> None:
    """Raise JobRefused where a layer of the network normalises over a batch."""
    for name, part in module.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            raise JobRefused(
                f"model: {name or 'the network'} ({type(part).__name__}) mixes the rows of a batch, so no row can be "
                "hidden; use layer_norm, or leave out [privacy]"
            )


def draw(rows: int, rate: float, random: Random) -> np.ndarray:
    """Draw the rows of a step, ascending: each with probability `rate`, whatever the others do (Poisson sampling)."""
    return np.flatnonzero(_uniform(rows, random) < rate)


def clipped_sum(module: nn.Module, inputs: Tensor, targets: Tensor, loss: str, bound: float) -> list[Tensor]:
    """Compute the sum over rows of the gradient of each,
    clipped to a norm of `bound` over all trained parameters together.

    One row more or less changes it by at most `bound`. A gradient that is not finite counts as nothing, for one row
    must not decide whether training ends.

    Args:
        inputs, targets: (rows, …) as the network and the loss take them; there may be no rows.

    Returns:
        Gradients in the order of the parameters that require one.

    Raises:
        JobRefused: the network cannot be differentiated row by row.
    """
    measure = LOSSES[loss]
    trained = {name: value.detach() for name, value in module.named_parameters() if value.requires_grad}
    fixed: dict[str, Tensor] = {name: value for name, value in module.named_parameters() if not value.requires_grad}
    fixed.update(module.named_buffers())

    def of_row(values: dict[str, Tensor], row: Tensor, target: Tensor) -> Tensor:
        # A batch of its own: the network never sees two rows at once.
        return measure(functional_call(module, {**values, **fixed}, (row[None],)), target[None])

    of_rows = vmap(grad(of_row), in_dims=(None, 0, 0), randomness="different")
    total = [torch.zeros(value.shape, dtype=value.dtype) for value in trained.values()]
    width = max(SLICE_BYTES // (4 * sum(value.numel() for value in total)), 1)
    for start in range(0, len(inputs), width):
        place = slice(start, start + width)
        try:
            found = of_rows(trained, inputs[place], targets[place])
        except RuntimeError:
            raise JobRefused(
                "model: the network cannot be differentiated row by row, which [privacy] needs; use layers that treat "
                "each row alone and change nothing in themselves, or leave out [privacy]"
            ) from None
        _add_clipped(total, list(found.values()), bound)
    return total


@torch.no_grad()
def _add_clipped(total: Sequence[Tensor], gradients: Sequence[Tensor], bound: float) -> None:
    """Add gradients (rows, …), each row of all together clipped to `bound`."""
    flat = [gradient.flatten(1) for gradient in gradients]
    norms = torch.stack([torch.linalg.vector_norm(part, dim=1) for part in flat]).norm(dim=0)
    finite = norms.isfinite()
    if not finite.all():
        flat, norms = [part[finite] for part in flat], norms[finite]
    shares = bound / norms.clamp(min=bound)
    for sum_, part in zip(total, flat, strict=True):
        sum_ += (shares.to(part.dtype) @ part).view_as(sum_)


@torch.no_grad()
def add_noise(values: Tensor, deviation: float, random: Random) -> None:
    """Add to every entry, in place, its own Gaussian noise of this standard deviation."""
    flat = values.view(-1)
    for start in range(0, len(flat), _NOISE_BLOCK):
        part = flat[start : start + _NOISE_BLOCK]
        part += torch.from_numpy(deviation * normal(len(part), random)).to(part.dtype)


def normal(count: int, random: Random) -> np.ndarray:
    """Draw (count,) float64, standard normal and independent.

    Source: Box and Muller, "A note on the generation of random normal deviates", 1958.
    """
    pairs = (count + 1) // 2
    # In (0, 1], of which there is a logarithm.
    radius = np.sqrt(-2 * np.log(1 - _uniform(pairs, random)))
    angle = 2 * np.pi * _uniform(pairs, random)
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]


def _uniform(count: int, random: Random) -> np.ndarray:
    """(count,) float64, uniform over the multiples of 2**-53 in [0, 1)."""
    whole = np.frombuffer(random(8 * count), dtype="<u8") >> np.uint64(11)
    return np.ldexp(whole.astype(np.float64), -53)
