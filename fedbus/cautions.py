"""Sentences on data that a command says before a job and a report says after it, so that both say the same."""

from __future__ import annotations


def alike(rows: int, folded: int, kind: str = "rows") -> str:
    """That more rows would be in common if ids were written alike.

    Args:
        rows: in common.
        folded: in common if case, blanks, leading zeros and `.0` did not count.
    """
    return (
        f"{folded - rows:,} more {kind} would be in common, {folded:,} in place of {rows:,}, if case, blanks, leading "
        "zeros and a `.0` at the end of ids did not count: write the ids alike in all tables"
    )


def seen_in_training(party: str, count: int, rows: int) -> str:
    """That held-out rows are no new ones.

    Args:
        party: whose rows these are.
        count: held-out rows whose ids are ids of training rows.
        rows: held-out rows.
    """
    are = "is an id" if count == 1 else "are ids"
    return f"{count:,} of {rows:,} held-out ids {are} of training rows at {party}: scores on them are not of new rows."
