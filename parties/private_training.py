"""Local training with differential privacy of each row: DP-SGD.

In each step every row is taken with probability q = batch_size / rows; the gradient of each row taken is clipped to
max_grad_norm C, the clipped gradients are added with Gaussian noise of standard deviation noise_multiplier C, and the
optimiser steps with the sum over batch_size. What that spends, fedbus/budget.py counts.

Source: Abadi et al., "Deep learning with differential privacy", CCS 2016, algorithm 1. Rows and noise are drawn from a
cryptographic generator; the noise is computed in floating point, whose gaps Mironov, "On significance of the least
significant bits for differential privacy", CCS 2012, describes for the Laplace mechanism.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from fedbus.budget import sample_rate, steps
from fedbus.errors import JobRefused
from fedbus.jobs.average import AverageParams, Privacy
from parties import network
from parties.steps import Stepper
from parties.training import LOSSES, Trained, as_inputs, as_target, check_finite

Random = Callable[[int], bytes]

# Of the gradients of single rows that are in memory at once.
_SLICE_BYTES = 64 * 1024**2


def train_private(
    module: nn.Module, features: np.ndarray, label: np.ndarray, params: AverageParams, privacy: Privacy, random: Random
) -> Trained:
    """Train the network in place on rows (rows, columns) and (rows,) float64.

    Args:
        random: gives so many secret, uniformly random bytes; the next ones at each call.

    Returns:
        The time it took; the loss is 0, for the loss of training is not private.

    Raises:
        JobRefused: the network mixes the rows of a batch, so that no row has a gradient of its own.
        TrainingDiverged: a weight is not finite; the network is of no use then.
    """
    began = time.perf_counter()
    check_rows_apart(module)
    rows, parameters = len(label), {name: value for name, value in module.named_parameters() if value.requires_grad}
    stepper = Stepper(module, params)
    inputs, targets = as_inputs(features), as_target(label, params.loss)
    rate, scale = sample_rate(rows, params.batch_size), privacy.noise_multiplier * privacy.max_grad_norm
    module.train()
    # Dropout draws from torch's stream, which is no secret and need not be: the guarantee does not rest on it.
    with network.seeded(int.from_bytes(random(7), "big")):
        for _ in range(steps(rows, params.batch_size, params.local_epochs)):
            taken = torch.from_numpy(np.flatnonzero(uniform(random, rows) < rate))
            totals = clipped_sum(module, inputs[taken], targets[taken], params.loss, privacy.max_grad_norm)
            slopes = []
            for name in parameters:
                noise = torch.from_numpy(normal(random, totals[name].numel())).reshape(totals[name].shape)
                slopes.append(((totals[name].double() + scale * noise) / params.batch_size).float())
            stepper.step(slopes)
    check_finite(module, 0.0)
    return Trained(0.0, time.perf_counter() - began)


def clipped_sum(module: nn.Module, inputs: Tensor, targets: Tensor, loss: str, most: float) -> dict[str, Tensor]:
    """The sum over rows of their gradients, each clipped to the norm `most` over all parameters, by their names."""
    parameters = {name: value.detach() for name, value in module.named_parameters() if value.requires_grad}
    buffers = {name: value.detach() for name, value in module.named_buffers()}
    measure = LOSSES[loss]

    def of_row(values: dict[str, Tensor], features: Tensor, target: Tensor) -> Tensor:
        outputs = functional_call(module, (values, buffers), (features.unsqueeze(0),))
        value: Tensor = measure(outputs, target.unsqueeze(0))
        return value

    totals = {name: torch.zeros_like(value) for name, value in parameters.items()}
    for part, goal in _slices(inputs, targets, sum(value.numel() for value in parameters.values())):
        gradients = vmap(grad(of_row), in_dims=(None, 0, 0), randomness="different")(parameters, part, goal)
        squares = sum(gradient.flatten(1).double().square().sum(1) for gradient in gradients.values())
        assert isinstance(squares, Tensor)  # noqa: S101  # there are parameters
        # A gradient that is not finite would pass any bound on the norm: its row counts for nothing.
        norms = squares.sqrt()
        factors = torch.where(norms.isfinite(), (most / norms.clamp(min=1e-12)).clamp(max=1.0), 0.0).float()
        for name, gradient in gradients.items():
            finite = torch.where(norms.isfinite().view(-1, *[1] * (gradient.dim() - 1)), gradient, 0.0)
            totals[name] += torch.einsum("i,i...->...", factors, finite)
    return totals


def check_rows_apart(module: nn.Module) -> None:
    """JobRefused where a layer mixes the rows of a batch."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            raise JobRefused("[privacy]: batch normalisation mixes rows, so that none can be hidden; use layer_norm")


def uniform(random: Random, count: int) -> np.ndarray:
    """Numbers uniform over [0, 1), multiples of 2^-53, shape (count,) float64."""
    return (np.frombuffer(random(8 * count), dtype="<u8") >> 11) * 2.0**-53


def normal(random: Random, count: int) -> np.ndarray:
    """Standard normal numbers, shape (count,) float64, by Box and Muller's transformation of uniform ones."""
    pairs = -(-count // 2)
    # 1 - u is never 0, of which there is no logarithm.
    radius = np.sqrt(-2.0 * np.log(1.0 - uniform(random, pairs)))
    angle = 2.0 * np.pi * uniform(random, pairs)
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]


def _slices(inputs: Tensor, targets: Tensor, parameters: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows few enough for the gradients of each to be in memory."""
    rows = max(1, _SLICE_BYTES // (4 * max(1, parameters)))
    for start in range(0, len(inputs), rows):
        yield inputs[start : start + rows], targets[start : start + rows]
