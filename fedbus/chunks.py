"""A long payload is cut into several messages."""

from __future__ import annotations

# RabbitMQ 4 refuses messages over 16 MiB, and larger ones than this are no faster.
CHUNK_BYTES = 1024 * 1024


def chunk_ranges(count: int, width: int) -> list[tuple[int, int]]:
    """Return the chunks of `count` values of so many bytes as (start, stop), about CHUNK_BYTES each."""
    step = max(1, CHUNK_BYTES // width)
    return [(start, min(start + step, count)) for start in range(0, count, step)]
