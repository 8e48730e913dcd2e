"""Batches of consecutive rows: every role cuts the aligned rows alike, without a message about it."""

from __future__ import annotations


def batches(rows: int, batch_size: int | None) -> list[tuple[int, int]]:
    """Pairs (start, stop), stop excluded, that cover the rows in order.

    Args:
        rows: how many there are; none gives no batch.
        batch_size: rows of each batch, the last may be shorter; None, or no less than `rows`, is one full batch.

    Raises:
        ValueError: negative `rows`, or a batch size below 1.
    """
    if rows < 0 or (batch_size is not None and batch_size < 1):
        raise ValueError("batches need a number of rows of at least 0 and a batch size of at least 1")
    size = rows if batch_size is None else batch_size
    return [(start, min(start + size, rows)) for start in range(0, rows, max(size, 1))]
