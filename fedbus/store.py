"""A process's durable memory: jobs, inbox, outbox, checkpoints and model shares, in one SQLite file.

A message is in the outbox before it is published, and in the inbox before it is acknowledged unless a checkpoint covers
it. So a process that dies at any instant goes on from its last checkpoint with nothing lost and nothing done twice.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from fedbus import store_tables as t
from fedbus.errors import StoreError
from fedbus.jobs import JobState
from fedbus.store_files import configure, lock, make_private
from fedbus.store_records import Checkpoint, JobRecord, StateRecord, StoredMessage, to_record, to_row

SECRET_BYTES = 32

# How long the write-ahead log is waited for when a job is purged, while some other program reads the file.
_CHECKPOINT_SECONDS = 1.0

# Of what may be long: rows read at a time, and bytes of a row.
_FEW = 8
_BLOB_BYTES = 4 * 1024**2


class Store:
    """The store of one process, which holds it alone until it is closed.

    Args:
        path: the SQLite file; made with its folder where it does not exist, readable by its owner only.

    Raises:
        StoreInUse: another process works on it.
        StoreError: it cannot be made or read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._write = threading.RLock()
        self._writer: sa.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock_file = lock(path.with_name(path.name + ".lock"))
            path.touch(mode=0o600, exist_ok=True)
            for suffix in ("", ".lock", "-wal", "-shm"):
                make_private(path.with_name(path.name + suffix))
        except OSError as error:
            raise StoreError(f"{path}: the store cannot be opened: {error.strerror}") from error
        self._engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})
        sa.event.listen(self._engine, "connect", configure)
        try:
            t.tables.create_all(self._engine)
        except sa.exc.DatabaseError as error:
            self.close()
            raise StoreError(f"{path}: not a store of fedbus: {error.orig}") from error

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the store free for another process. Idempotent."""
        with self._write:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
        self._engine.dispose()
        self._lock_file.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        # SQLite has one writer; a lock here queues threads fairly where SQLite would let them poll.
        try:
            with self._write:
                if self._writer is None:
                    self._writer = self._engine.connect()
                with self._writer.begin():
                    yield self._writer
        except (sa.exc.DBAPIError, sqlite3.Error) as error:
            raise StoreError(f"{self.path}: the store cannot be written: {getattr(error, 'orig', error)}") from error

    # The ledger of jobs.

    def add_job(self, job: str, spec: bytes, state: JobState, reason: str = "", owner: str = "") -> bool:
        """Enter a job with a new secret; False where it is in the ledger already."""
        now = time.time()
        row = {"job": job, "spec": spec, "state": state.value, "created_at": now, "updated_at": now}
        row |= {"reason": reason, "owner": owner, "secret": secrets.token_bytes(SECRET_BYTES)}
        with self._writing() as connection:
            if entered := connection.execute(insert(t.jobs).values(**row).on_conflict_do_nothing()).rowcount == 1:
                connection.execute(t.history.insert().values(job=job, state=state.value, reason=reason, at=now))
        return entered

    def set_state(self, job: str, state: JobState, reason: str = "", report: bytes | None = None) -> bool:
        """Move a job to a state; False where it has ended, or is to be cancelled and this is no end."""
        now = time.time()
        values: dict[str, Any] = {"state": state.value, "reason": reason, "updated_at": now}
        if report is not None:
            values["report"] = report
        closed = [other.value for other in JobState if other.final]
        if not state.final:
            closed.append(JobState.CANCELLING.value)
        with self._writing() as connection:
            where = (t.jobs.c.job == job, t.jobs.c.state.not_in(closed))
            if moved := connection.execute(t.jobs.update().where(*where).values(**values)).rowcount == 1:
                connection.execute(t.history.insert().values(job=job, state=state.value, reason=reason, at=now))
        return moved

    def purge(self, *jobs: str) -> None:
        """Overwrite all that jobs needed only to go on: messages, checkpoints, secrets. Their ends are seen through."""
        with self._writing() as connection:
            for job in jobs:
                for table in (t.inbox, t.outbox, t.checkpoints, t.arrays):
                    connection.execute(table.delete().where(table.c.job == job))
                connection.execute(t.jobs.update().where(t.jobs.c.job == job).values(secret=b""))
        self._empty_log()

    def _empty_log(self) -> None:
        # The write-ahead log keeps what pages held before; emptied, it is a file of no bytes. Where another program
        # reads the store just then, SQLite says that it is busy, and a later purge or the end of the process does it.
        try:
            with self._write, contextlib.closing(sqlite3.connect(self.path, timeout=_CHECKPOINT_SECONDS)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: the store cannot be written: {error}") from error

    def job(self, job: str) -> JobRecord | None:
        """A job of the ledger."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(t.jobs).where(t.jobs.c.job == job)).one_or_none()
        return to_record(row) if row else None

    def jobs(self) -> list[JobRecord]:
        """All jobs, oldest first."""
        with self._engine.connect() as connection:
            return [to_record(row) for row in connection.execute(sa.select(t.jobs).order_by(t.jobs.c.created_at))]

    def newest(self, limit: int, *, owner: str | None = None, unfinished: bool = False) -> list[JobRecord]:
        """The newest jobs first, without their reports; of one owner only, or only those that have not ended."""
        statement = sa.select(*(sa.null() if column is t.jobs.c.report else column for column in t.jobs.c))
        statement = statement.order_by(t.jobs.c.created_at.desc()).limit(limit)
        if owner is not None:
            statement = statement.where(t.jobs.c.owner == owner)
        if unfinished:
            statement = statement.where(t.jobs.c.state.not_in([state.value for state in JobState if state.final]))
        with self._engine.connect() as connection:
            return [to_record(row) for row in connection.execute(statement)]

    def history(self, job: str) -> list[StateRecord]:
        """The states that a job came to, in order; a state that was entered again is there again."""
        column = t.history.c
        statement = sa.select(column.state, column.reason, column.at).where(column.job == job).order_by(column.number)
        with self._engine.connect() as connection:
            return [StateRecord(JobState(state), reason, at) for state, reason, at in connection.execute(statement)]

    def unfinished(self) -> list[JobRecord]:
        """The jobs that were not purged, oldest first: interrupted, or ended without all that the end entails."""
        return [record for record in self.jobs() if record.secret]

    def count_jobs(self) -> dict[JobState, int]:
        """How many jobs there are in each state."""
        counts = dict.fromkeys(JobState, 0)
        with self._engine.connect() as connection:
            statement = sa.select(t.jobs.c.state, sa.func.count()).group_by(t.jobs.c.state)
            for state, count in connection.execute(statement):
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
        """Journal what happened in a job, in one transaction.

        Args:
            received: for the inbox.
            posted: for the outbox.
            checkpoint: replaces the last one.

        Returns:
            Of each message posted whether it is new; where it is not, the outbox has what was sent before.
        """
        with self._writing() as connection:
            cursor = connection.connection.cursor()
            for message in received:
                cursor.execute(t.RECEIVE, to_row(message))
            new = []
            for message in posted:
                cursor.execute(t.POST, to_row(message))
                new.append(cursor.rowcount == 1)
            if checkpoint is not None:
                cursor.execute(t.CHECKPOINT, (job, checkpoint.round, checkpoint.state))
                for name, blob in checkpoint.blobs.items():
                    cursor.execute(t.DROP_BLOB, (job, name))
                    parts = memoryview(blob).cast("B")
                    for chunk, start in enumerate(range(0, len(parts), _BLOB_BYTES)):
                        cursor.execute(t.BLOB, (job, name, chunk, parts[start : start + _BLOB_BYTES]))
        return new

    def forget(self, job: str, covered: int | None, trims: Mapping[str, int]) -> None:
        """Drop messages that no restart needs.

        Args:
            covered: the round of a checkpoint: received ones up to it; None for none.
            trims: for each recipient the round up to which it has checkpointed what it was sent.
        """
        with self._writing() as connection:
            if covered is not None:
                connection.execute(t.drop_inbox, {"of_job": job, "until": covered})
            for recipient, until in trims.items():
                connection.execute(t.trim_outbox, {"of_job": job, "of_recipient": recipient, "until": until})

    def posted(self, message_id: str) -> bytes | None:
        """The body of a message in the outbox."""
        with self._engine.connect() as connection:
            return connection.execute(sa.select(t.outbox.c.body).where(t.outbox.c.id == message_id)).scalar()

    def inbox(self, job: str, after: int = -1) -> Iterator[StoredMessage]:
        """The messages of a job of rounds after this one; a few at a time are in memory."""
        statement = sa.select(t.inbox).where(t.inbox.c.job == job, t.inbox.c.round > after)
        with self._engine.connect() as connection:
            for row in connection.execution_options(yield_per=_FEW).execute(statement):
                yield StoredMessage(*row)

    def received(self, message_id: str) -> bytes | None:
        """The body of a message in the inbox."""
        with self._engine.connect() as connection:
            return connection.execute(sa.select(t.inbox.c.body).where(t.inbox.c.id == message_id)).scalar()

    def sent_after(self, job: str, recipient: str, round_: int) -> Iterator[StoredMessage]:
        """What a recipient was sent after a round and has not checkpointed, in order; a few are in memory."""
        table = t.outbox.c
        statement = sa.select(t.outbox).where(table.job == job, table.recipient == recipient, table.round > round_)
        statement = statement.order_by(table.round, table.batch, table.chunk)
        with self._engine.connect() as connection:
            for row in connection.execution_options(yield_per=_FEW).execute(statement):
                yield StoredMessage(*row)

    def last_posted(self, job: str) -> int:
        """The last round of a job in which something was sent that is in the outbox; -1 where there is nothing."""
        with self._engine.connect() as connection:
            statement = sa.select(sa.func.max(t.outbox.c.round)).where(t.outbox.c.job == job)
            found = connection.execute(statement).scalar()
        return -1 if found is None else int(found)

    def decided(self, job: str, kind: str, round_: int) -> bytes | None:
        """The body of a message of this kind and round that was sent, to whomever."""
        table = t.outbox.c
        where = (table.job == job, table.kind == kind, table.round == round_)
        with self._engine.connect() as connection:
            return connection.execute(sa.select(table.body).where(*where).limit(1)).scalar()

    def outbox(self, job: str, place: tuple[str, str, int, int] | None = None) -> Iterator[StoredMessage]:
        """The messages of a job that were sent and that not all have checkpointed, in order; a few are in memory.

        Args:
            place: only the chunks of this (recipient, kind, round, batch).
        """
        table = t.outbox.c
        statement = sa.select(t.outbox).where(table.job == job).order_by(table.round, table.batch, table.chunk)
        if place is not None:
            recipient, kind, round_, batch = place
            statement = statement.where(table.recipient == recipient, table.kind == kind)
            statement = statement.where(table.round == round_, table.batch == batch)
        with self._engine.connect() as connection:
            for row in connection.execution_options(yield_per=_FEW).execute(statement):
                yield StoredMessage(*row)

    # Checkpoints and models.

    def last_checkpoint(self, job: str) -> tuple[int, bytes] | None:
        """Round and state of a job's checkpoint."""
        with self._engine.connect() as connection:
            statement = sa.select(t.checkpoints.c.round, t.checkpoints.c.state).where(t.checkpoints.c.job == job)
            row = connection.execute(statement).one_or_none()
        return (row[0], row[1]) if row else None

    def blob(self, job: str, name: str) -> bytearray | None:
        """A blob of a job's checkpoint."""
        column = t.arrays.c
        statement = sa.select(column.data).where(column.job == job, column.name == name).order_by(column.chunk)
        found = bytearray()
        with self._engine.connect() as connection:
            for (data,) in connection.execution_options(yield_per=_FEW).execute(statement):
                found += data
        return found or None

    def save_model(self, job: str, share: bytes) -> None:
        """Keep this party's share of a model."""
        statement = insert(t.models).values(job=job, share=share, created_at=time.time())
        with self._writing() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["job"], set_={"share": share}))

    def model(self, job: str) -> bytes | None:
        """This party's share of the model that a job trained."""
        with self._engine.connect() as connection:
            return connection.execute(sa.select(t.models.c.share).where(t.models.c.job == job)).scalar()
