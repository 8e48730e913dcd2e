"""The doubly blinded values that two parties have in common are found by sorting,
without any work in Python for each of them.
"""

from __future__ import annotations

import numpy as np

from fedbus.algorithms.vertical.agreed import MATCH_BYTES
from fedbus.crypto.curve import POINT_BYTES
from fedbus.errors import ProtocolError

# Not the first byte, whose lowest bit is 0 in ristretto255, and not the last ones, whose values are not uniform.
_MATCH_FROM = 8
_HALF = np.dtype("<u8")


def cut(points: bytes) -> bytes:
    """Cut every point to MATCH_BYTES: enough to compare them, and too few to go on computing with them."""
    rows = np.frombuffer(points, dtype=np.uint8).reshape(-1, POINT_BYTES)
    part: bytes = rows[:, _MATCH_FROM : _MATCH_FROM + MATCH_BYTES].tobytes()
    return part


def match(mine: bytes, theirs: bytes, sender: str) -> tuple[np.ndarray, np.ndarray]:
    """Find where the same value is in both, in an order that depends on the values only.

    Args:
        mine, theirs: values of MATCH_BYTES; those of one side differ from each other.
        sender: whose values `theirs` are, or who had a part in making `mine`.

    Returns:
        Indices into `mine` and into `theirs`, each of shape (common,).

    Raises:
        ProtocolError: a value is twice on one side.
    """
    values = np.frombuffer(mine + theirs, dtype=_HALF).reshape(-1, 2)
    high, low = values[:, 0], values[:, 1]
    order = np.argsort(high)
    alike, same = _neighbours(high, low, order)
    if not np.array_equal(alike, same):
        # Values whose first halves are alike must be told apart by the second; chance hardly ever makes any.
        order = np.lexsort((low, high))
        _, same = _neighbours(high, low, order)
    thrice = (same[1:] & same[:-1]).any()
    at = np.flatnonzero(same)
    pairs = np.stack([order[at], order[at + 1]])
    count = len(mine) // MATCH_BYTES
    first, second = pairs.min(axis=0), pairs.max(axis=0)
    if thrice or (first >= count).any() or (second < count).any():
        raise ProtocolError(f"{sender} sent the same id twice")
    return first, second - count


def _neighbours(high: np.ndarray, low: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return of each value but the last whether the next one in this order has the same first half, and the same
    second.
    """
    sorted_high, sorted_low = high[order], low[order]
    alike = sorted_high[1:] == sorted_high[:-1]
    return alike, alike & (sorted_low[1:] == sorted_low[:-1])
