"""Mean and deviation of the columns of a table, in two passes: means first, then squares of differences from a mean.

A deviation that is a minute part of a column's values keeps its precision: a value that the column has is taken off
before anything is added up, which floating point does without rounding where values are alike.

Source, the corrected two-pass algorithm: Chan, Golub, LeVeque, "Algorithms for computing the sample variance: analysis
and recommendations", The American Statistician 37(3), 1983.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from fedbus.algorithms.fedavg.moments import IMMENSE
from fedbus.algorithms.fedavg.tasks import exponent_of


def means(values: np.ndarray) -> list[Fraction]:
    """Return the mean of each column of (rows, columns) float64, at least one row; exact where all values are one."""
    first = values[0]
    rest = (values - first).mean(axis=0)
    return [Fraction(float(start)) + Fraction(float(more)) for start, more in zip(first, rest, strict=True)]


def squares(values: np.ndarray, mean: np.ndarray, exponents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean squared difference of each column from `mean`, (columns,), and the mean difference.

    Both are in units of a column's power of two, squared and as it is. The square of the second, which is what a mean
    loses when it is rounded, is to be taken off the first.

    Args:
        exponents: of each column, of a power of two that neither the values nor the mean exceed.
    """
    scaled = np.ldexp(values - mean, -exponents)
    rest = scaled.mean(axis=0)
    return np.square(scaled, out=scaled).mean(axis=0), rest


def fit(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the columns of (rows, columns) float64; IMMENSE where all values
    are one.
    """
    mean = np.array([float(each) for each in means(values)])
    exponents = np.array([exponent_of(float(each)) for each in np.abs(values).max(axis=0)])
    square, rest = squares(values, mean, exponents)
    scale = np.ldexp(np.sqrt(np.maximum(square - rest**2, 0.0)), exponents)
    return mean, np.where((values == values[0]).all(axis=0), IMMENSE, scale)
