"""A party does not have its own columns multiplied, but orthogonal ones that span the same space.

Two columns of one party may differ by a millionth of themselves, and the label may depend on just that. In fixed point
the difference is lost; in a party's own float64 it is not. So a party multiplies an orthogonal basis of its columns,
each of the same length, and maps the weights back: its own columns cost no precision, however close they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# A part of the largest coefficient: a column with less has no part in a relation.
_LEAST_PART = 1e-6
# A ridge beyond it leaves nothing of a weight, and its square is still a float64.
_MOST_PENALTY = 1e150
_MOST_NAMED = 20


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """The orthogonal columns that take the place of a party's own, and what is known of these.

    Attributes:
        transform: (columns, columns) T: columns X are multiplied as X T, and weights v of them are T v of X. A
            direction in which the columns do not vary beyond rounding is a column of zeros.
        penalty: (columns,) of v: l2 |T v|^2 without the intercept is the sum of penalty * v^2.
        cut: how many directions are zeros, or would be.
        dependent: columns that follow from others, by name, and which these are.
    """

    transform: np.ndarray
    penalty: np.ndarray
    cut: int
    dependent: dict[str, list[str]]

    @classmethod
    def of(cls, features: np.ndarray, names: Sequence[str], *, l2: float, least_norm: bool) -> Basis:
        """Compute the basis of a party's columns.

        Args:
            features: (rows, columns), standardised; at the guest with a last column of ones, which has no name.
            least_norm: keep the columns as they are, for of all weights that fit those of least norm are sought.
        """
        rows, count = len(features), len(names)
        has_intercept = features.shape[1] > count
        own = features[:, :count]
        # Orthogonal to the ones too. A host has no ones that could make up for what it takes off.
        mean = own.mean(axis=0) if has_intercept else np.zeros(count)
        upper = np.asarray(np.linalg.qr(own - mean, mode="r"))
        _, lengths, across = np.linalg.svd(upper)
        # As numpy.linalg.lstsq does by default.
        rounding = lengths[0] * max(rows, count) * np.finfo(np.float64).eps
        kept = lengths > rounding
        scale = np.where(kept, lengths, 1.0) / rows**0.5
        inner = np.eye(count) if least_norm else np.where(kept, across.T / scale, 0.0)
        penalty = np.where(kept, np.minimum(l2 / scale**2, _MOST_PENALTY), 0.0)
        if has_intercept:
            inner = np.block([[inner, np.zeros((count, 1))], [-mean @ inner, np.ones((1, 1))]])
            penalty = np.append(penalty, 0.0)
        cut = int(count - np.count_nonzero(kept))
        dependent = _relations(upper, names, rounding) if cut else {}
        return cls(inner, penalty, cut, dependent)


def _relations(upper: np.ndarray, names: Sequence[str], rounding: float) -> dict[str, list[str]]:
    """Columns of a triangular factor that follow from those before them, and from which."""
    follows = np.abs(np.diag(upper)) <= 10 * rounding
    free = np.flatnonzero(~follows)
    found = {}
    for column in np.flatnonzero(follows)[:_MOST_NAMED]:
        before = free[free < column]
        if not len(before):
            continue
        parts = np.abs(np.linalg.lstsq(upper[:, before], upper[:, column], rcond=None)[0])
        found[names[column]] = [names[other] for other in before[parts > _LEAST_PART * parts.max()]]
    return found
