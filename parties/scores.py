"""A federated result is compared with these: the same models on pooled plaintext, and figures of their quality.

Only simulations, demonstrations and tests have pooled data; no role of a protocol calls `least_squares`.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np


class Metrics(TypedDict):
    """The quality of a regression.

    mse is in squared units of the label and rmse in its unit; r2 is 1 - mse / variance of the label, and None where the
    label does not vary, for then nothing is there to be explained.
    """

    mse: float
    rmse: float
    r2: float | None


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
