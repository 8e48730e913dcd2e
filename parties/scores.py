"""A federated result is compared with these: the same models on pooled plaintext, and figures of their quality.

Only simulations, demonstrations and tests have pooled data; no role of a protocol calls the solvers here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypedDict

import numpy as np


class Stepper(Protocol):
    """An optimiser of one vector of weights, which may remember earlier gradients."""

    def step(self, weights: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Compute new weights, of the shape of both arguments."""


class Metrics(TypedDict):
    """The quality of a regression.

    mse is in squared units of the label and rmse in its unit; r2 is 1 - mse / variance of the label, and None where the
    label does not vary, for then nothing is there to be explained.
    """

    mse: float
    rmse: float
    r2: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Descent:
    """The course of a gradient descent; columns are those of all owners side by side, guest first.

    Attributes:
        losses: of each round, on its batch, before its step.
        weights: (rounds, columns), after each round's step.
        intercepts: (rounds,), after each round's step.
    """

    losses: tuple[float, ...]
    weights: np.ndarray
    intercepts: np.ndarray


def regression_metrics(label: np.ndarray, prediction: np.ndarray) -> Metrics:
    """Compare predictions with labels, both (rows,); ValueError where shapes differ or there is no row."""
    if label.shape != prediction.shape or label.ndim != 1 or not len(label):
        raise ValueError("label and prediction must be vectors of the same length, with at least one row")
    return error_metrics(label, float(np.mean((label - prediction) ** 2)))


def error_metrics(label: np.ndarray, mse: float) -> Metrics:
    """Compute what a mean squared error amounts to for labels, (rows,)."""
    # Compared as they are: the variance of a constant that is no exact binary fraction is not quite zero.
    variance = float(np.var(label)) if (label != label[0]).any() else 0.0
    return Metrics(mse=mse, rmse=mse**0.5, r2=1.0 - mse / variance if variance else None)


def least_squares(features: np.ndarray, label: np.ndarray, l2: float = 0.0) -> tuple[np.ndarray, float]:
    """Find the exact minimiser of |X w + b - y|^2 / (2 rows) + (l2 / 2) |w|^2; the intercept b is not penalised.

    At the minimum the residuals sum to zero, so that b follows from the means and w is the solution for centred
    columns. The ridge is appended as rows sqrt(rows * l2) I: unlike the normal equations this does not square the
    condition number. Without ridge, columns that depend on each other get the solution of least norm.

    Args:
        features: (rows, columns), standardised or raw.
        label: (rows,).
        l2: weight of the ridge term, at least 0.

    Returns:
        Weights (columns,) and the intercept.

    Raises:
        ValueError: shapes that do not fit, no rows, or a negative ridge.
    """
    rows, columns = features.shape
    if label.shape != (rows,) or not rows or l2 < 0:
        raise ValueError("least squares need a label for each row, at least one row, and a ridge of at least 0")
    mean, offset = features.mean(axis=0), float(label.mean())
    design, target = features - mean, label - offset
    if l2:
        design = np.vstack([design, np.sqrt(rows * l2) * np.eye(columns)])
        target = np.concatenate([target, np.zeros(columns)])
    weights = np.linalg.lstsq(design, target, rcond=None)[0]
    return weights, offset - float(mean @ weights)


def gradient_descent(
    blocks: Sequence[np.ndarray],
    label: np.ndarray,
    *,
    make_optimizer: Callable[[int], Stepper],
    batches: Sequence[tuple[int, int]],
    epochs: int,
    l2: float = 0.0,
) -> Descent:
    """Take the federated solver's steps on pooled data, from weights of zero; one round for each batch of each epoch.

    With d = X w + b - y on the batch's n rows, an owner's gradient is X_own^T d / n + l2 w_own, the intercept's is
    sum(d) / n, and the round's loss is sum(d^2) / (2 n) + (l2 / 2) |w|^2 at the weights before the step.

    Args:
        blocks: (rows, columns of an owner) for each owner, guest first.
        label: (rows,).
        make_optimizer: gives an owner's optimiser, called with the number of its weights. The intercept is the last
            weight of the guest, as in the protocol.
        batches: pairs (start, stop) of consecutive rows, see `fedbus.batching`.
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
    return Descent(losses=tuple(losses), weights=np.delete(history, at, axis=1), intercepts=history[:, at].copy())
