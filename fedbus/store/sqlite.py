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
from fedbus.store.audit import SqliteAuditLog
from fedbus.store.checks import opened, sealed
from fedbus.store.database import Database
from fedbus.store.past import SqlitePast
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


class SqliteStore:
    """A store in one SQLite file; what each method does is said in `base.Store`.

    Args:
        path: the SQLite file; made with its folder where it does not exist, readable by its owner only.

    Raises:
        StoreInUse: another process works on it.
        StoreError: it cannot be made or read, is damaged, or is another file; which is left as it is.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = str(path)
        self._database = Database(path)
        self.audit = SqliteAuditLog(self._database)
        self.past = SqlitePast(self._database)
        self.lost = self._database.lost

    def __enter__(self) -> SqliteStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    # The ledger of jobs.

    def add_job(self, job: str, spec: bytes, state: JobState, reason: str = "", owner: str = "") -> bool:
        now = time.time()
        record = JobRecord(job, spec, state, reason, None, secrets.token_bytes(SECRET_BYTES), owner, now, now)
        with self._database.writing() as cursor:
            cursor.execute(t.ADD_JOB, sealed(t.jobs.name, to_entry(record)))
            if entered := cursor.rowcount == 1:
                _enter_state(cursor, record)
        return entered

    def set_state(self, job: str, state: JobState, reason: str = "", report: bytes | None = None) -> bool:
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
        with self._database.writing() as cursor:
            for job in jobs:
                for statement in t.DROP_ALL_OF_JOB:
                    cursor.execute(statement, (job,))
                record = self.job(job)
                if record is not None:
                    _put(cursor, replace(record, secret=b""))
        self._database.empty_log()

    def job(self, job: str) -> JobRecord | None:
        row = self._database.row(t.jobs, t.JOB, job, job=job)
        return to_record(row) if row else None

    def jobs(self) -> list[JobRecord]:
        return [record for record in self._ledger() if isinstance(record, JobRecord)]

    def newest(
        self, *, owner: str | None = None, unfinished: bool = False, before: tuple[float, str] | None = None
    ) -> Iterator[JobRecord]:
        at, job = before or (math.inf, "")
        chosen = (owner is None, owner or "", not unfinished, at, at, job)
        return (record for record in self._ledger(t.NEWEST, *chosen) if isinstance(record, JobRecord))

    def history(self, job: str) -> list[StateRecord]:
        rows = self._database.rows(t.history, t.HISTORY, job, job=job)
        return [StateRecord(JobState(state), reason, at) for _, state, reason, at in rows]

    def unfinished(self) -> list[JobRecord]:
        return [record for record in self.jobs() if record.secret]

    def damaged(self) -> dict[str, StoreError]:
        return {str(found[0]): found[1] for found in self._ledger() if isinstance(found, tuple)}

    def _ledger(self, statement: str = t.JOBS, *values: Any) -> Iterator[JobRecord | tuple[str, StoreError]]:
        for row in self._database.stream(statement, *values):
            try:
                yield to_record(opened(self.path, t.jobs.name, row, row[0]))
            except StoreError as error:
                yield row[0], error

    def give_up(self, job: str, reason: str) -> JobRecord:
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
        with self._database.writing() as cursor:
            for message in received:
                cursor.execute(t.RECEIVE, sealed(t.inbox.name, to_row(message)))
            new = []
            for message in posted:
                cursor.execute(t.POST, sealed(t.outbox.name, to_row(message)))
                new.append(cursor.rowcount == 1)
            self.audit.release(cursor, [message for message, is_new in zip(posted, new, strict=True) if is_new])
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
        with self._database.writing() as cursor:
            if covered is not None:
                cursor.execute(t.DROP_INBOX, (job, covered))
            for recipient, until in trims.items():
                cursor.execute(t.TRIM_OUTBOX, (job, recipient, until))

    def posted(self, job: str, message_id: str) -> bytes | None:
        row = self._database.row(t.outbox, t.POSTED, message_id, job=job)
        return None if row is None else StoredMessage(*row).body

    def inbox(self, job: str, after: int = -1) -> Iterator[StoredMessage]:
        for row in self._database.rows(t.inbox, t.INBOX, job, after, job=job):
            yield StoredMessage(*row)

    def received(self, job: str, message_id: str) -> bytes | None:
        row = self._database.row(t.inbox, t.RECEIVED, message_id, job=job)
        return None if row is None else StoredMessage(*row).body

    def sent_after(self, job: str, recipient: str, round_: int) -> Iterator[StoredMessage]:
        for row in self._database.rows(t.outbox, t.SENT_AFTER, job, recipient, round_, job=job):
            yield StoredMessage(*row)

    def last_posted(self, job: str) -> int:
        ((found,),) = self._database.values(t.LAST_POSTED, job)
        return -1 if found is None else int(found)

    def decided(self, job: str, kind: str, round_: int) -> bytes | None:
        row = self._database.row(t.outbox, t.DECIDED, job, kind, round_, job=job)
        return None if row is None else StoredMessage(*row).body

    def outbox(self, job: str, place: tuple[str, str, int, int] | None = None) -> Iterator[StoredMessage]:
        statement, values = (t.OUTBOX, (job,)) if place is None else (t.OUTBOX_AT, (job, *place))
        for row in self._database.rows(t.outbox, statement, *values, job=job):
            yield StoredMessage(*row)

    def put_proof(self, job: str, name: str, proof: bytes) -> None:
        """Keep what a member signed for a job."""
        with self._database.writing() as cursor:
            cursor.execute(t.PUT_PROOF, sealed(t.proofs.name, (job, name, proof)))

    def proofs(self, job: str) -> dict[str, bytes]:
        """What members signed for a job, by their names."""
        return {name: proof for _, name, proof in self._database.rows(t.proofs, t.PROOFS, job, job=job)}

    # Checkpoints and models.

    def last_checkpoint(self, job: str) -> tuple[int, bytes] | None:
        row = self._database.row(t.checkpoints, t.LAST_CHECKPOINT, job, job=job)
        return (row[1], row[2]) if row else None

    def blob(self, job: str, name: str) -> bytearray | None:
        found = bytearray()
        for _, _, _, data in self._database.rows(t.arrays, t.BLOB, job, name, job=job):
            found += data
        return found or None

    def save_model(self, job: str, share: bytes) -> None:
        with self._database.writing() as cursor:
            cursor.execute(t.PUT_MODEL, sealed(t.models.name, (job, share, time.time())))

    def model(self, job: str) -> bytes | None:
        row = self._database.row(t.models, t.MODEL, job, job=job)
        return row[1] if row else None


def _put(cursor: sqlite3.Cursor, record: JobRecord) -> None:
    cursor.execute(t.PUT_JOB, sealed(t.jobs.name, to_entry(record)))


def _enter_state(cursor: sqlite3.Cursor, record: JobRecord) -> None:
    values = (record.job, record.state.value, record.reason, record.updated_at)
    cursor.execute(t.ADD_STATE, sealed(t.history.name, values))
