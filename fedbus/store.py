"""A process's durable memory: jobs, inbox, outbox, checkpoints and model shares, in one SQLite file.

A message is in the inbox before it is acknowledged and in the outbox before it is published, so that a process that
dies at any instant goes on from its last checkpoint with nothing lost and nothing done twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from fedbus.errors import StoreError, StoreInUse
from fedbus.jobs import JobState

SECRET_BYTES = 32

_tables = sa.MetaData()
_jobs = sa.Table(
    "jobs",
    _tables,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("spec", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("report", sa.LargeBinary),
    sa.Column("secret", sa.LargeBinary, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
)


def _messages(name: str, peer: str) -> sa.Table:
    return sa.Table(
        name,
        _tables,
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column(peer, sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("batch", sa.Integer, nullable=False),
        sa.Column("chunk", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Index(f"{name}_by_round", "job", "round"),
    )


_inbox = _messages("inbox", "sender")
_outbox = _messages("outbox", "recipient")
_checkpoints = sa.Table(
    "checkpoints",
    _tables,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("state", sa.LargeBinary, nullable=False),
)
_models = sa.Table(
    "models",
    _tables,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("share", sa.LargeBinary, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
)


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job in the ledger; spec and report are packed by the codec.

    Attributes:
        secret: of the job's randomness; empty once the job's end has been seen through.
        owner: the broker's user who submitted it, at the coordinator.
    """

    job: str
    spec: bytes
    state: JobState
    reason: str
    report: bytes | None
    secret: bytes
    owner: str
    created_at: float


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message in the inbox (peer is the sender) or the outbox (peer is the recipient)."""

    id: str
    job: str
    peer: str
    kind: str
    round: int
    batch: int
    chunk: int
    body: bytes


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
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock_file = _lock(path.with_name(path.name + ".lock"))
            path.touch(mode=0o600, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{path}: the store cannot be opened: {error.strerror}") from error
        self._engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})
        sa.event.listen(self._engine, "connect", _configure)
        try:
            _tables.create_all(self._engine)
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
        self._engine.dispose()
        self._lock_file.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        # SQLite has one writer; a lock here queues threads fairly where SQLite would let them poll.
        try:
            with self._write, self._engine.begin() as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            raise StoreError(f"{self.path}: the store cannot be written: {error.orig}") from error

    # The ledger of jobs.

    def add_job(self, job: str, spec: bytes, state: JobState, reason: str = "", owner: str = "") -> bool:
        """Enter a job with a new secret; False where it is in the ledger already."""
        now = time.time()
        row = {"job": job, "spec": spec, "state": state.value, "created_at": now, "updated_at": now}
        row |= {"reason": reason, "owner": owner, "secret": secrets.token_bytes(SECRET_BYTES)}
        statement = insert(_jobs).values(**row).on_conflict_do_nothing()
        with self._writing() as connection:
            return connection.execute(statement).rowcount == 1

    def set_state(self, job: str, state: JobState, reason: str = "", report: bytes | None = None) -> bool:
        """Move a job to a state; False where it has ended, or is to be cancelled and this is no end."""
        values: dict[str, Any] = {"state": state.value, "reason": reason, "updated_at": time.time()}
        if report is not None:
            values["report"] = report
        closed = [other.value for other in JobState if other.final]
        if not state.final:
            closed.append(JobState.CANCELLING.value)
        with self._writing() as connection:
            where = (_jobs.c.job == job, _jobs.c.state.not_in(closed))
            return connection.execute(_jobs.update().where(*where).values(**values)).rowcount == 1

    def purge(self, job: str) -> None:
        """Drop all that an ended job needed only to go on: messages, checkpoint and secret. Its end is seen through."""
        with self._writing() as connection:
            for table in (_inbox, _outbox, _checkpoints):
                connection.execute(table.delete().where(table.c.job == job))
            connection.execute(_jobs.update().where(_jobs.c.job == job).values(secret=b""))

    def job(self, job: str) -> JobRecord | None:
        """A job of the ledger."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(_jobs).where(_jobs.c.job == job)).one_or_none()
        return _record(row) if row else None

    def jobs(self) -> list[JobRecord]:
        """All jobs, oldest first."""
        with self._engine.connect() as connection:
            return [_record(row) for row in connection.execute(sa.select(_jobs).order_by(_jobs.c.created_at))]

    def unfinished(self) -> list[JobRecord]:
        """The jobs that were not purged, oldest first: interrupted, or ended without all that the end entails."""
        return [record for record in self.jobs() if record.secret]

    def count_jobs(self) -> dict[JobState, int]:
        """How many jobs there are in each state."""
        counts = dict.fromkeys(JobState, 0)
        with self._engine.connect() as connection:
            statement = sa.select(_jobs.c.state, sa.func.count()).group_by(_jobs.c.state)
            for state, count in connection.execute(statement):
                counts[JobState(state)] = count
        return counts

    # Messages.

    def receive(self, message: StoredMessage) -> bool:
        """Journal a message received; False where it is in the inbox already."""
        return self._insert(_inbox, "sender", message)

    def post(self, message: StoredMessage) -> bool:
        """Journal a message to send; False where it is in the outbox already."""
        return self._insert(_outbox, "recipient", message)

    def posted(self, message_id: str) -> bytes | None:
        """The body of a message in the outbox."""
        with self._engine.connect() as connection:
            return connection.execute(sa.select(_outbox.c.body).where(_outbox.c.id == message_id)).scalar()

    def inbox(self, job: str) -> list[StoredMessage]:
        """The messages of a job that its last checkpoint does not cover."""
        with self._engine.connect() as connection:
            return [StoredMessage(*row) for row in connection.execute(sa.select(_inbox).where(_inbox.c.job == job))]

    def outbox(self, job: str, place: tuple[str, str, int, int] | None = None) -> list[StoredMessage]:
        """The messages of a job that were sent and that not all have checkpointed, in order.

        Args:
            place: only the chunks of this (recipient, kind, round, batch).
        """
        table = _outbox.c
        statement = sa.select(_outbox).where(table.job == job).order_by(table.round, table.batch, table.chunk)
        if place is not None:
            recipient, kind, round_, batch = place
            statement = statement.where(table.recipient == recipient, table.kind == kind)
            statement = statement.where(table.round == round_, table.batch == batch)
        with self._engine.connect() as connection:
            return [StoredMessage(*row) for row in connection.execute(statement)]

    def trim_outbox(self, job: str, recipient: str, round_: int) -> None:
        """Drop what the recipient has checkpointed."""
        table = _outbox.c
        with self._writing() as connection:
            where = (table.job == job, table.recipient == recipient, table.round <= round_)
            connection.execute(_outbox.delete().where(*where))

    def _insert(self, table: sa.Table, peer: str, message: StoredMessage) -> bool:
        row = {
            "id": message.id, "job": message.job, peer: message.peer, "kind": message.kind, "round": message.round,
            "batch": message.batch, "chunk": message.chunk, "body": message.body,
        }  # fmt: skip
        with self._writing() as connection:
            return connection.execute(insert(table).values(**row).on_conflict_do_nothing()).rowcount == 1

    # Checkpoints and models.

    def checkpoint(self, job: str, round_: int, state: bytes) -> None:
        """Replace a job's checkpoint, and drop the messages that it covers, in one transaction."""
        statement = insert(_checkpoints).values(job=job, round=round_, state=state)
        statement = statement.on_conflict_do_update(index_elements=["job"], set_={"round": round_, "state": state})
        with self._writing() as connection:
            connection.execute(statement)
            connection.execute(_inbox.delete().where(_inbox.c.job == job, _inbox.c.round <= round_))

    def last_checkpoint(self, job: str) -> tuple[int, bytes] | None:
        """Round and state of a job's checkpoint."""
        with self._engine.connect() as connection:
            statement = sa.select(_checkpoints.c.round, _checkpoints.c.state).where(_checkpoints.c.job == job)
            row = connection.execute(statement).one_or_none()
        return (row[0], row[1]) if row else None

    def save_model(self, job: str, share: bytes) -> None:
        """Keep this party's share of a model."""
        statement = insert(_models).values(job=job, share=share, created_at=time.time())
        with self._writing() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["job"], set_={"share": share}))

    def model(self, job: str) -> bytes | None:
        """This party's share of the model that a job trained."""
        with self._engine.connect() as connection:
            return connection.execute(sa.select(_models.c.share).where(_models.c.job == job)).scalar()


def _record(row: Sequence[Any]) -> JobRecord:
    job, spec, state, reason, report, secret, owner, created_at, _ = row
    return JobRecord(job, spec, JobState(state), reason, report, secret, owner, created_at)


def _configure(connection: Any, _: Any) -> None:
    # FULL: what was acknowledged must survive a loss of power too; costs one fsync a message.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _lock(path: Path) -> Any:
    file = path.open("a+", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise StoreInUse(f"{path.with_suffix('')}: another process works on this store") from None
    return file
