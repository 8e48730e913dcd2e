"""What a job makes of a party's data is told here by its algorithm, and heard by whoever keeps the party's memory."""

from __future__ import annotations

from collections.abc import Sequence


class Use:
    """The use of a data set by one job; this one is of no consequence, for tables that are looked at and not used."""

    def on(self, ids: Sequence[str]) -> None:
        """The job is about to train on the rows of these ids, before anything that follows from their cells is sent.

        Raises:
            JobRefused: too many jobs did so with nearly the same rows.
        """

    def spent(self, epsilon: float) -> None:
        """The job has spent so much of the privacy of each row until now, whatever becomes of it."""


UNUSED = Use()
