"""A few wrong updates cannot pull these averages away. They are of updates that the coordinator sees one by one.

    median        of each coordinate              Yin, Chen, Ramchandran, Bartlett, "Byzantine-robust distributed
    trimmed_mean  of each coordinate, without     learning: towards optimal statistical rates", ICML 2018
                  the largest and the smallest
    krum          the update that is nearest to   Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine learning with
                  its nearest neighbours          adversaries: Byzantine tolerant gradient descent", NeurIPS 2017

None of them weighs a party by its rows: a party could claim any number of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fedbus.algorithms.fedavg.spec import Strategy
from fedbus.errors import JobFailed

# Bytes of updates that are worked on at once; sorting and float64 take a small multiple of it.
BLOCK_BYTES = 8 << 20


def combine(updates: np.ndarray, weights: Sequence[float], strategy: Strategy) -> np.ndarray:
    """Make one update of many, as the strategy says: the mean weighted with `weights` where it is none of the above.

    Args:
        updates: (members, size) float32, finite.
        weights: of each member, such as its rows; not negative.

    Returns:
        (size,) float32.

    Raises:
        JobFailed: krum has too few updates for as many liars as it is to bear.
        ValueError: there are no updates, or none with a weight.
    """
    if not len(updates) or len(weights) != len(updates):
        raise ValueError(
            f"{len(weights)} weights for {len(updates)} updates; there is one each, of at least one member"
        )
    if strategy.name == "krum":
        return np.array(updates[choose(updates, strategy.byzantine)])
    if strategy.name == "median":
        return _by_blocks(updates, lambda block: np.median(block, axis=0))
    if strategy.name == "trimmed_mean":
        return _by_blocks(updates, lambda block: _trimmed_mean(block, strategy.trim))
    shares = np.asarray(weights, dtype=np.float64)
    if not (shares >= 0).all() or not 0 < shares.sum() < np.inf:
        raise ValueError("weights are not negative, and one at least is above zero")
    shares = shares / shares.sum()
    return _by_blocks(updates, lambda block: shares @ block.astype(np.float64))


def choose(updates: np.ndarray, byzantine: int) -> int:
    """Choose by Krum the member whose update has the least sum of squared
    distances to its members - byzantine - 2 nearest.

    Raises:
        JobFailed: there are fewer than 2 * byzantine + 3 updates, below which the paper promises nothing.
    """
    members = len(updates)
    if members < 2 * byzantine + 3:
        raise JobFailed(
            f"krum with strategy.byzantine = {byzantine} takes at least {2 * byzantine + 3} updates and this round has "
            f"{members}; raise params.min_clients, or lower strategy.byzantine"
        )
    distances = _squared_distances(updates)
    np.fill_diagonal(distances, np.inf)
    nearest = np.sort(distances, axis=1)[:, : members - byzantine - 2]
    return int(nearest.sum(axis=1).argmin())


def _squared_distances(updates: np.ndarray) -> np.ndarray:
    """(members, members) float64: |a - b|^2 = |a|^2 + |b|^2 - 2 ab, block by block.

    The mean is taken off first: updates have a common direction, whose square would drown their differences.
    """
    products = np.zeros((len(updates), len(updates)))
    for block in _blocks(updates):
        part = updates[:, block].astype(np.float64)
        part -= part.mean(axis=0)
        products += part @ part.T
    squares = np.diag(products)
    return np.maximum(squares[:, None] + squares[None, :] - 2 * products, 0)


def _trimmed_mean(block: np.ndarray, trim: float) -> np.ndarray:
    """Return the mean of each column without floor(trim * members) values at either end; trim is below a half."""
    drop = int(trim * len(block))
    kept: np.ndarray = np.sort(block, axis=0)[drop : len(block) - drop]
    return np.asarray(kept.mean(axis=0, dtype=np.float64))


def _by_blocks(updates: np.ndarray, of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    combined = np.empty(updates.shape[1], dtype=np.float32)
    for block in _blocks(updates):
        combined[block] = of(updates[:, block])
    return combined


def _blocks(updates: np.ndarray) -> list[slice]:
    width = max(BLOCK_BYTES // (4 * len(updates)), 1)
    return [slice(start, start + width) for start in range(0, updates.shape[1], width)]
