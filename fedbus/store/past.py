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
from dataclasses import replace

from fedbus.store import tables as t
from fedbus.store.checks import opened, sealed
from fedbus.store.database import Database
from fedbus.store.records import SKETCHED, Sketch, Used

_DIGEST_BYTES = 8
_KEY_BYTES = 32


class SqlitePast:
    """The memory of a store in SQLite; what each method does is said in `base.Past`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, job: str, dataset: str, charged: float | None) -> None:
        with self._database.writing() as cursor:
            if self.used(job) is None:
                _put(cursor, Used(job, dataset, time.time(), charged))

    def spend(self, job: str, epsilon: float | None) -> None:
        with self._database.writing() as cursor:
            if (used := self.used(job)) is not None:
                _put(cursor, replace(used, spent=epsilon))

    def enter_rows(self, job: str, sketch: Sketch) -> None:
        with self._database.writing() as cursor:
            if (used := self.used(job)) is not None:
                _put(cursor, replace(used, sketch=sketch))

    def drop(self, job: str) -> None:
        with self._database.writing() as cursor:
            cursor.execute(t.DROP_USE, (job,))

    def used(self, job: str) -> Used | None:
        row = self._database.row(t.uses, t.USE, job, job=job)
        return None if row is None else _to_used(row)

    def uses(self, dataset: str) -> list[Used]:
        return [_to_used(row) for row in self._database.rows(t.uses, t.USES, dataset, job=f"on {dataset}")]

    def since(self, at: float) -> list[Used]:
        return [_to_used(row) for row in self._database.rows(t.uses, t.USES_SINCE, at, job="since then")]

    def sketch(self, ids: Sequence[str]) -> Sketch:
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
