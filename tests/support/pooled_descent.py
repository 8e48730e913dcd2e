"""The steps of solver `sgd` on pooled plaintext, to which a federated course of training is compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Stepper(Protocol):
    """An optimiser of one vector of weights, which may remember earlier gradients."""

    def step(self, weights: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Compute new weights, of the shape of both arguments."""


@dataclass(frozen=True, slots=True, eq=False)
class PooledDescent:
    """The course of a gradient descent; columns are those of all owners side by side, guest first.

    Attributes:
        losses: of each round, on its batch, before its step.
        weights: (rounds, columns), after each round's step.
        intercepts: (rounds,), after each round's step.
    """

    losses: tuple[float, ...]
    weights: np.ndarray
    intercepts: np.ndarray


def gradient_descent(
    blocks: Sequence[np.ndarray],
    label: np.ndarray,
    *,
    make_optimizer: Callable[[int], Stepper],
    batches: Sequence[tuple[int, int]],
    epochs: int,
    l2: float = 0.0,
) -> PooledDescent:
    """Take the federated solver's steps on pooled data, from weights of zero; one round for each batch of each epoch.

    With d = X w + b - y on the batch's n rows, an owner's gradient is X_own^T d / n + l2 w_own, the intercept's is
    sum(d) / n, and the round's loss is sum(d^2) / (2 n) + (l2 / 2) |w|^2 at the weights before the step.

    Args:
        blocks: (rows, columns of an owner) for each owner, guest first.
        label: (rows,).
        make_optimizer: gives an owner's optimiser, called with the number of its weights. The intercept is the last
            weight of the guest, as in the protocol.
        batches: pairs (start, stop) of consecutive rows, see fedbus/algorithms/vertical/batching.py.
        epochs: how often to go through the batches.
        l2: weight of the ridge term.

    Raises:
        ValueError: blocks and label differ in rows, or there is no block.
    """
    rows = len(label)
    if not blocks or any(block.shape[0] != rows for block in blocks):
        raise ValueError("each owner's block needs a row for each label, and there must be an owner")
    designs = [np.column_stack([blocks[0], np.ones(rows)]), *blocks[1:]]
    penalised = [np.ones(design.shape[1]) for design in designs]
    penalised[0][-1] = 0.0
    optimizers = [make_optimizer(design.shape[1]) for design in designs]
    weights = [np.zeros(design.shape[1]) for design in designs]

    losses: list[float] = []
    history = np.empty((epochs * len(batches), sum(len(own) for own in weights)))
    for number, (start, stop) in enumerate(list(batches) * epochs):
        parts = [design[start:stop] for design in designs]
        residual = sum(part @ own for part, own in zip(parts, weights, strict=True)) - label[start:stop]
        count = stop - start
        squares = sum(float(mask @ own**2) for mask, own in zip(penalised, weights, strict=True))
        losses.append(float(residual @ residual) / (2 * count) + l2 / 2 * squares)
        weights = [
            optimizer.step(own, part.T @ residual / count + l2 * mask * own)
            for optimizer, own, part, mask in zip(optimizers, weights, parts, penalised, strict=True)
        ]
        history[number] = np.concatenate(weights)
    at = blocks[0].shape[1]
    return PooledDescent(losses=tuple(losses), weights=np.delete(history, at, axis=1), intercepts=history[:, at].copy())
