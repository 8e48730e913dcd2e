"""A party's memory of its jobs: which data sets they used, which rows, and what they spent of a budget of epsilon.

Rows are kept as sketches (Broder, "On the resemblance and containment of documents", 1997): of the digests of all ids
under a key of this store the least SKETCHED ones. Two sketches tell which part of the rows of both jobs together are
common, exactly for as many rows as a sketch has, and within about 0.03 for more.
"""

from __future__ import annotations

import hashlib
import heapq
import secrets
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fedbus.store import tables as t
from fedbus.store.checks import opened, sealed
from fedbus.store.database import Database

SKETCHED = 1024
_DIGEST_BYTES = 8
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Sketch:
    """Which rows a job used.

    Attributes:
        rows: how many.
        least: the least digests of their ids, in order, SKETCHED at most.
    """

    rows: int
    least: tuple[bytes, ...]

    def resemblance(self, other: Sketch) -> float:
        """The part of the rows of both together that both have: 0 for none, 1 for the same rows."""
        both = set(self.least) & set(other.least)
        # Beyond the shorter sketch's last digest that one has no say, unless it has all of its rows.
        least = sorted({*self.least, *other.least})[:SKETCHED]
        return sum(each in both for each in least) / len(least) if least else 1.0


@dataclass(frozen=True, slots=True)
class Used:
    """The use of a data set by a job.

    Attributes:
        at: when it began, in seconds since 1970.
        charged: the epsilon that it may spend; None where its data set had no budget.
        spent: what it did spend until now, None while nothing is known.
        sketch: of the rows, once they are known.
    """

    job: str
    dataset: str
    at: float
    charged: float | None = None
    spent: float | None = None
    sketch: Sketch | None = None


class Past:
    """What the store remembers of its party's jobs; any thread may call it, and what it entered is durable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, job: str, dataset: str, charged: float | None) -> None:
        """Enter that a job uses a data set, and what it may spend, unless it is there."""
        with self._database.writing() as cursor:
            if self.used(job) is None:
                _put(cursor, Used(job, dataset, time.time(), charged))

    def spend(self, job: str, epsilon: float | None) -> None:
        """Enter what a job has spent until now; None where that is not known any more, as it goes on."""
        with self._database.writing() as cursor:
            if (used := self.used(job)) is not None:
                _put(cursor, replace(used, spent=epsilon))

    def enter_rows(self, job: str, sketch: Sketch) -> None:
        """Enter which rows a job uses."""
        with self._database.writing() as cursor:
            if (used := self.used(job)) is not None:
                _put(cursor, replace(used, sketch=sketch))

    def drop(self, job: str) -> None:
        """Forget a job that used nothing in the end, and spent nothing."""
        with self._database.writing() as cursor:
            cursor.execute(t.DROP_USE, (job,))

    def used(self, job: str) -> Used | None:
        """The use by a job; None where there is none."""
        row = self._database.row(t.uses, t.USE, job, job=job)
        return None if row is None else _to_used(row)

    def uses(self, dataset: str) -> list[Used]:
        """The uses of a data set, oldest first."""
        return [_to_used(row) for row in self._database.rows(t.uses, t.USES, dataset, job=f"on {dataset}")]

    def since(self, at: float) -> list[Used]:
        """The uses that began after a time, in seconds since 1970."""
        return [_to_used(row) for row in self._database.rows(t.uses, t.USES_SINCE, at, job="since then")]

    def sketch(self, ids: Sequence[str]) -> Sketch:
        """A sketch of the rows of these ids under the store's key."""
        key = self._key()
        digests = {hashlib.blake2b(each.encode(), digest_size=_DIGEST_BYTES, key=key).digest() for each in ids}
        return Sketch(len(ids), tuple(heapq.nsmallest(SKETCHED, digests)))

    def _key(self) -> bytes:
        found = self._database.row(t.sketch_key, t.SKETCH_KEY, job="sketches")
        if found is None:
            with self._database.writing() as cursor:
                made = sealed(t.sketch_key.name, (1, secrets.token_bytes(_KEY_BYTES)))
                cursor.execute(t.ADD_SKETCH_KEY, made)
                found = opened(self._database.path, t.sketch_key.name, cursor.execute(t.SKETCH_KEY).fetchone(), "")
        return bytes(found[1])


def _put(cursor: sqlite3.Cursor, used: Used) -> None:
    rows = None if used.sketch is None else used.sketch.rows
    least = None if used.sketch is None else b"".join(used.sketch.least)
    values = (used.job, used.dataset, used.at, used.charged, used.spent, rows, least)
    cursor.execute(t.PUT_USE, sealed(t.uses.name, values))


def _to_used(row: Sequence[object]) -> Used:
    job, dataset, at, charged, spent, rows, least = row
    sketch = None
    if isinstance(rows, int) and isinstance(least, bytes):
        cuts = range(0, len(least), _DIGEST_BYTES)
        sketch = Sketch(rows, tuple(least[cut : cut + _DIGEST_BYTES] for cut in cuts))
    return Used(job, dataset, at, charged, spent, sketch)  # type: ignore[arg-type]
