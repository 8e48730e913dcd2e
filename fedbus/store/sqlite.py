"""The store is a process's durable memory: jobs, inbox, outbox, checkpoints and models, in one SQLite file.

A message is in the outbox before it is published, and in the inbox before it is acknowledged unless a checkpoint covers
it. So a process that dies at any instant goes on from its last checkpoint with nothing lost and nothing done twice.

Every record has a digest, so that what a disk gives back is what it was given: a damaged one is a StoreError that names
the file and the job, and the job that needs it ends, while others go on.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from fedbus import codec
from fedbus.errors import StoreError
from fedbus.job import JobState
from fedbus.store import tables as t
from fedbus.store.checks import opened, sealed
from fedbus.store.database import Database
from fedbus.store.records import (
    PROVISIONAL,
    Checkpoint,
    JobRecord,
    StateRecord,
    StoredMessage,
    to_entry,
    to_record,
    to_row,
)

SECRET_BYTES = 32

# Of what may be long: bytes of a record.
_BLOB_BYTES = 4 * 1024**2


class Store:
    """The store of one process, which holds it alone until it is closed.

    Args:
        path: the SQLite file; made with its folder where it does not exist, readable by its owner only.

    Raises:
        StoreInUse: another process works on it.
        StoreError: it cannot be made or read, is damaged, or is another file; which is left as it is.

    Attributes:
        lost: a sentence on entries that the store once had and has no more; empty where all is there. What it has is
            consistent, but jobs have gone on from where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = Database(path)
        self.lost = self._database.lost

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the store free for another process. Idempotent."""
        self._database.close()

    # The ledger of jobs.

    def add_job(self, job: str, spec: bytes, state: JobState, reason: str = "", owner: str = "") -> bool:
        """Enter a job with a new secret. Return False where it is in the ledger already."""
        now = time.time()
        record = JobRecord(job, spec, state, reason, None, secrets.token_bytes(SECRET_BYTES), owner, now, now)
        with self._database.writing() as cursor:
            cursor.execute(t.ADD_JOB, sealed(t.jobs.name, to_entry(record)))
            if entered := cursor.rowcount == 1:
                _enter_state(cursor, record)
        return entered

    def set_state(self, job: str, state: JobState, reason: str = "", report: bytes | None = None) -> bool:
        """Move a job to a state. Return False where it has ended, or is to be cancelled and this is no end.

        An end with the report PROVISIONAL may be replaced by another end.
        """
        with self._database.writing() as cursor:
            record = self.job(job)
            if record is None or not record.may_become(state):
                return False
            before = None if record.report == PROVISIONAL else record.report
            report = before if report is None else report
            moved = replace(record, state=state, reason=reason, report=report, updated_at=time.time())
            _put(cursor, moved)
            _enter_state(cursor, moved)
        return True

    def begin(self, job: str) -> float:
        """Enter that a job's work begins, unless it has begun. Return when it began, in seconds since 1970."""
        with self._database.writing() as cursor:
            record = self.job(job)
            if record is None:
                raise StoreError(f"{self.path}: job {job} is not in the ledger")
            if record.started_at is not None:
                return record.started_at
            now = time.time()
            _put(cursor, replace(record, started_at=now))
        return now

    def purge(self, *jobs: str) -> None:
        """Overwrite what jobs needed only to go on: messages, checkpoints, secrets. Nothing is left to do for them."""
        with self._database.writing() as cursor:
            for job in jobs:
                for statement in t.DROP_ALL_OF_JOB:
                    cursor.execute(statement, (job,))
                record = self.job(job)
                if record is not None:
                    _put(cursor, replace(record, secret=b""))
        self._database.empty_log()

    def job(self, job: str) -> JobRecord | None:
        """Return a job of the ledger; raise StoreError where its record is damaged."""
        row = self._database.row(t.jobs, t.JOB, job, job=job)
        return to_record(row) if row else None

    def jobs(self) -> list[JobRecord]:
        """Return all jobs whose records are sound, oldest first."""
        return [record for record in self._ledger() if isinstance(record, JobRecord)]

    def newest(
        self, *, owner: str | None = None, unfinished: bool = False, before: tuple[float, str] | None = None
    ) -> Iterator[JobRecord]:
        """Return the jobs whose records are sound, the newest first; a few are in memory.

        Args:
            owner: of this one only.
            unfinished: only those that have not ended.
            before: only those entered before this time, or then and of an earlier id.
        """
        at, job = before or (math.inf, "")
        chosen = (owner is None, owner or "", not unfinished, at, at, job)
        return (record for record in self._ledger(t.NEWEST, *chosen) if isinstance(record, JobRecord))

    def history(self, job: str) -> list[StateRecord]:
        """Return the states to which a job came, in order; a state that was entered again is there again."""
        rows = self._database.rows(t.history, t.HISTORY, job, job=job)
        return [StateRecord(JobState(state), reason, at) for _, state, reason, at in rows]

    def unfinished(self) -> list[JobRecord]:
        """Return the jobs that were not purged, oldest first: interrupted, or ended with something left to do."""
        return [record for record in self.jobs() if record.secret]

    def damaged(self) -> dict[str, StoreError]:
        """Return the jobs whose records in the ledger are damaged, with what a reader of each is told."""
        return {str(found[0]): found[1] for found in self._ledger() if isinstance(found, tuple)}

    def _ledger(self, statement: str = t.JOBS, *values: Any) -> Iterator[JobRecord | tuple[str, StoreError]]:
        for row in self._database.stream(statement, *values):
            try:
                yield to_record(opened(self.path, t.jobs.name, row, row[0]))
            except StoreError as error:
                yield row[0], error

    def give_up(self, job: str, reason: str) -> JobRecord:
        """Enter the failure of a job whose record is damaged, and keep of the record what can be read."""
        (row,) = self._database.values(t.JOB, job)
        _, spec, *_, owner, created_at, _, _, _ = row
        now, readable = time.time(), False
        with contextlib.suppress(TypeError, ValueError):
            readable = isinstance(codec.unpack(spec), dict)
        # Of no job: whoever parses it refuses it.
        spec = spec if readable else codec.pack({})
        owner = owner if isinstance(owner, str) else ""
        created_at = created_at if isinstance(created_at, float) else now
        # A secret of its own length says that the end is still to be seen through; it is of no use to anybody.
        record = JobRecord(job, spec, JobState.FAILED, reason, None, bytes(SECRET_BYTES), owner, created_at, now)
        with self._database.writing() as cursor:
            _put(cursor, record)
            _enter_state(cursor, record)
        return record

    def count_jobs(self) -> dict[JobState, int]:
        """Return how many jobs there are in each state."""
        counts = dict.fromkeys(JobState, 0)
        for state, count in self._database.values(t.STATES):
            if state in counts:
                counts[JobState(state)] = count
        return counts

    # Messages.

    def write(
        self,
        job: str,
        *,
        received: Sequence[StoredMessage] = (),
        posted: Sequence[StoredMessage] = (),
        checkpoint: Checkpoint | None = None,
    ) -> list[bool]:
        """Enter in the journal what happened in a job, in one transaction.

        Args:
            received: for the inbox.
            posted: for the outbox.
            checkpoint: replaces the last one.

        Returns:
            Of each message posted whether it is new; where it is not, the outbox has what was sent before.
        """
        with self._database.writing() as cursor:
            for message in received:
                cursor.execute(t.RECEIVE, sealed(t.inbox.name, to_row(message)))
            new = []
            for message in posted:
                cursor.execute(t.POST, sealed(t.outbox.name, to_row(message)))
                new.append(cursor.rowcount == 1)
            if checkpoint is not None:
                values = (job, checkpoint.round, checkpoint.state)
                cursor.execute(t.CHECKPOINT, sealed(t.checkpoints.name, values))
                for name, blob in checkpoint.blobs.items():
                    cursor.execute(t.DROP_BLOB, (job, name))
                    parts = memoryview(blob).cast("B")
                    for chunk, start in enumerate(range(0, len(parts), _BLOB_BYTES)):
                        piece = (job, name, chunk, parts[start : start + _BLOB_BYTES])
                        cursor.execute(t.ADD_BLOB, sealed(t.arrays.name, piece))
        return new

    def forget(self, job: str, covered: int | None, trims: Mapping[str, int]) -> None:
        """Drop messages that no restart needs.

        Args:
            covered: the round of a checkpoint: received ones up to it; None for none.
            trims: for each recipient the round up to which it has checkpointed what it was sent.
        """
        with self._database.writing() as cursor:
            if covered is not None:
                cursor.execute(t.DROP_INBOX, (job, covered))
            for recipient, until in trims.items():
                cursor.execute(t.TRIM_OUTBOX, (job, recipient, until))

    def posted(self, job: str, message_id: str) -> bytes | None:
        """Return the body of a message in the outbox."""
        row = self._database.row(t.outbox, t.POSTED, message_id, job=job)
        return None if row is None else StoredMessage(*row).body

    def inbox(self, job: str, after: int = -1) -> Iterator[StoredMessage]:
        """Return the messages of a job from rounds after this one; a few at a time are in memory."""
        for row in self._database.rows(t.inbox, t.INBOX, job, after, job=job):
            yield StoredMessage(*row)

    def received(self, job: str, message_id: str) -> bytes | None:
        """Return the body of a message in the inbox."""
        row = self._database.row(t.inbox, t.RECEIVED, message_id, job=job)
        return None if row is None else StoredMessage(*row).body

    def sent_after(self, job: str, recipient: str, round_: int) -> Iterator[StoredMessage]:
        """Return what a recipient was sent after a round and has not checkpointed, in order; a few are in memory."""
        for row in self._database.rows(t.outbox, t.SENT_AFTER, job, recipient, round_, job=job):
            yield StoredMessage(*row)

    def last_posted(self, job: str) -> int:
        """Return the last round of a job of which the outbox has a message; -1 where it has none."""
        ((found,),) = self._database.values(t.LAST_POSTED, job)
        return -1 if found is None else int(found)

    def decided(self, job: str, kind: str, round_: int) -> bytes | None:
        """Return the body of a message of this kind and round that was sent, to whomever."""
        row = self._database.row(t.outbox, t.DECIDED, job, kind, round_, job=job)
        return None if row is None else StoredMessage(*row).body

    def outbox(self, job: str, place: tuple[str, str, int, int] | None = None) -> Iterator[StoredMessage]:
        """Return the messages of a job that were sent and not checkpointed by all, in order; a few are in memory.

        Args:
            place: only the chunks of this (recipient, kind, round, batch).
        """
        statement, values = (t.OUTBOX, (job,)) if place is None else (t.OUTBOX_AT, (job, *place))
        for row in self._database.rows(t.outbox, statement, *values, job=job):
            yield StoredMessage(*row)

    # Checkpoints and models.

    def last_checkpoint(self, job: str) -> tuple[int, bytes] | None:
        """Return round and state of a job's checkpoint."""
        row = self._database.row(t.checkpoints, t.LAST_CHECKPOINT, job, job=job)
        return (row[1], row[2]) if row else None

    def blob(self, job: str, name: str) -> bytearray | None:
        """Return a blob of a job's checkpoint."""
        found = bytearray()
        for _, _, _, data in self._database.rows(t.arrays, t.BLOB, job, name, job=job):
            found += data
        return found or None

    def save_model(self, job: str, share: bytes) -> None:
        """Keep this party's model, or its share of one."""
        with self._database.writing() as cursor:
            cursor.execute(t.PUT_MODEL, sealed(t.models.name, (job, share, time.time())))

    def model(self, job: str) -> bytes | None:
        """Return this party's model, or its share of the model, that a job trained."""
        row = self._database.row(t.models, t.MODEL, job, job=job)
        return row[1] if row else None


def _put(cursor: sqlite3.Cursor, record: JobRecord) -> None:
    cursor.execute(t.PUT_JOB, sealed(t.jobs.name, to_entry(record)))


def _enter_state(cursor: sqlite3.Cursor, record: JobRecord) -> None:
    values = (record.job, record.state.value, record.reason, record.updated_at)
    cursor.execute(t.ADD_STATE, sealed(t.history.name, values))
