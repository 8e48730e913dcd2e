"""Rows are cut into batches of consecutive rows: every role cuts the aligned rows alike, without a message about it."""

from __future__ import annotations


def batches(rows: int, batch_size: int | None) -> list[tuple[int, int]]:
    """Return pairs (start, stop), stop excluded, that cover the rows in order.

    No batch has fewer rows than `batch_size`, for a gradient over a few rows tells about each of them: what is left
    over at the end goes into the last one, which may come close to twice that.

    Args:
        rows: how many there are; none gives no batch.
        batch_size: rows of each batch but the last; None, or no less than `rows`, is one full batch.

    Raises:
        ValueError: negative `rows`, or a batch size below 1.
    """
    number = count(rows, batch_size)
    size = rows if batch_size is None else batch_size
    return [(start * size, rows if start == number - 1 else (start + 1) * size) for start in range(number)]


def count(rows: int, batch_size: int | None) -> int:
    """Return how many batches there are; arguments and errors as of `batches`."""
    if rows < 0 or (batch_size is not None and batch_size < 1):
        raise ValueError("batches need a number of rows of at least 0 and a batch size of at least 1")
    return min(rows, 1) if batch_size is None else max(rows // batch_size, min(rows, 1))
