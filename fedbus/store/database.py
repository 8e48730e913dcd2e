"""This is the SQLite file under a store.
It is opened and checked, has one writer at a time, and its errors are put into words.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog

from fedbus.errors import StoreDamaged, StoreError, StoreFull, StoreLost
from fedbus.store import tables as t
from fedbus.store.checks import REMEDY, opened
from fedbus.store.files import Mark, configure, hold, is_held
from fedbus.store.versions import schema_of, take_over

log = structlog.get_logger()

# How long the write-ahead log is waited for when a job is purged, while some other program reads the file.
_CHECKPOINT_SECONDS = 1.0
# And by a transaction or a reader.
_BUSY_SECONDS = 30.0

# Rows read at a time: each may be long.
_FEW = 8

# What SQLite says where a disk or a quota is full: the others where the system says it late or in other words.
_FULL = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_SHMSIZE,
}


class Database:
    """One SQLite file, which this process holds alone until it is closed.

    Raises:
        StoreInUse: another process works on it.
        StoreError: it is no store, or one of a version that this one does not take over; it is damaged, or may not be
            read and written.

    Attributes:
        lost: what is known to be missing of the store, as a sentence about it; empty where nothing is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lost = ""
        self._write = threading.RLock()
        self._writer: sqlite3.Connection | None = None
        self._descriptor = hold(path)
        try:
            self._mark = Mark(path)
        except OSError as error:
            os.close(self._descriptor)
            raise StoreError(f"{path}: the store cannot be opened: {error.strerror}") from error
        self._engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": _BUSY_SECONDS})
        sa.event.listen(self._engine, "connect", configure)
        self._entries = 0
        try:
            self._check()
            self._begin()
        except BaseException:
            self._release()
            raise

    def close(self) -> None:
        """Give the store free for another process. A second call does nothing."""
        with self._write:
            if self._writer is not None:
                # A store that cannot be written now is found to be left open, which loses nothing.
                with contextlib.suppress(StoreError):
                    with self.writing(is_open=False):
                        pass
                    self.empty_log()
            self._release()

    def _release(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._engine.dispose()
        # Last: to close any descriptor of the file ends SQLite's own locks on it.
        if self._descriptor >= 0:
            self._mark.close()
            os.close(self._descriptor)
            self._descriptor = -1

    @contextlib.contextmanager
    def writing(self, *, is_open: bool = True) -> Iterator[sqlite3.Cursor]:
        """Open one transaction, which is durable when the `with` block is left.

        Args:
            is_open: whether the process goes on to work on the store.

        Raises:
            StoreFull: there is no room for it; nothing is written.
            StoreError: it cannot be written.
        """
        with self._write:
            if not is_held(self.path, self._descriptor):
                raise StoreLost(
                    f"{self.path}: the store was deleted, moved or replaced while this process works on it; "
                    "stop the process, put the file back, and start again"
                )
            with self._in_words("written"):
                if self._writer is None:
                    self._writer = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, check_same_thread=False)
                    configure(self._writer, None)
                with self._writer:
                    cursor = self._writer.cursor()
                    yield cursor
                    cursor.execute(t.PUT_PROGRESS, t.progress_record(self._entries + 1, is_open=is_open))
                self._entries += 1
            self._mark.write(self._entries)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Open a connection to read with. What SQLite refuses becomes a StoreError."""
        with self._in_words("read"), self._engine.connect() as connection:
            yield connection

    def rows(self, table: sa.Table, statement: str, *values: Any, job: str) -> Iterator[tuple[Any, ...]]:
        """Return the records that a statement finds, without their digests; a few of them are in memory at a time.

        Raises:
            StoreError: one is damaged; names the job.
        """
        for row in self.stream(statement, *values):
            yield opened(self.path, table.name, row, job)

    def stream(self, statement: str, *values: Any) -> Iterator[Any]:
        """Return what a statement finds as it is; a few rows are in memory at a time."""
        with self.reading() as connection:
            yield from connection.execution_options(yield_per=_FEW).exec_driver_sql(statement, values)

    def row(self, table: sa.Table, statement: str, *values: Any, job: str) -> tuple[Any, ...] | None:
        """Return the first record that a statement finds; raises as `rows`."""
        with self.reading() as connection:
            found = connection.exec_driver_sql(statement, values).first()
        return None if found is None else opened(self.path, table.name, found, job)

    def values(self, statement: str, *values: Any) -> list[Any]:
        """Return what a statement finds, where that is no record."""
        with self.reading() as connection:
            return list(connection.exec_driver_sql(statement, values))

    def empty_log(self) -> None:
        """Have the contents of the write-ahead log moved into the file, because the log keeps what pages held before.
        It then has no bytes.

        Where another program reads the store just then, SQLite says that it is busy, and a later time does it.
        """
        with (
            self._write,
            self._in_words("written"),
            contextlib.closing(sqlite3.connect(self.path, timeout=_CHECKPOINT_SECONDS)) as connection,
        ):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _check(self) -> None:
        """Raise StoreError where the file has other tables than a store's, or is damaged in what holds its records."""
        with self.reading() as connection:
            found = [tuple(row) for row in connection.exec_driver_sql(t.SCHEMA)]
            version = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
            faults = connection.exec_driver_sql("PRAGMA integrity_check(3)").scalars().all()
        if tuple(found) != schema_of(version):
            raise StoreDamaged(f"{self.path}: the store is damaged: its tables are not those of a store; {REMEDY}")
        if faults != ["ok"]:
            first = " ".join(str(faults[0]).split())
            raise StoreDamaged(f"{self.path}: the store is damaged ({first}); {REMEDY}")

    def _begin(self) -> None:
        """Find out whether anything is missing, and note that the store is open."""
        # Read anew: the check of its digest names no job, as it is of none.
        found = self.values(t.PROGRESS)
        if len(found) != 1 or tuple(found[0]) != t.progress_record(found[0][1], is_open=bool(found[0][2])):
            raise StoreDamaged(f"{self.path}: the store is damaged: its count of entries is; {REMEDY}")
        _, self._entries, was_open, _ = found[0]
        marked = self._mark.read()
        if marked is not None and marked > self._entries:
            self.lost = f"its store lost its last {marked - self._entries} entries"
        elif marked is None and was_open:
            # Its process died over it, and whether the log is whole nobody can tell.
            self.lost = "its store lost the mark that says how many entries it has, and perhaps the last of them"
        if self.lost:
            log.error(
                "the store is behind: its log was damaged or deleted, or it is an older copy; unfinished jobs end",
                store=str(self.path),
                lost=self.lost,
            )
        self._entries = max(self._entries, marked or 0)
        self._mark.make_durable(self._entries)
        with self.writing() as cursor:
            if take_over(cursor):
                log.info("a store of an older version is taken over with its ledger and models", store=str(self.path))
        self.empty_log()

    @contextlib.contextmanager
    def _in_words(self, done: str) -> Iterator[None]:
        try:
            yield
        except (sa.exc.DBAPIError, sqlite3.Error) as error:
            cause = getattr(error, "orig", None) or error
            code = getattr(cause, "sqlite_errorcode", 0)
            if code in _FULL:
                raise StoreFull(f"{self.path}: the store cannot be written, its disk is full: {cause}") from error
            damaged = code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
            if damaged:
                raise StoreDamaged(f"{self.path}: the store is damaged ({cause}); {REMEDY}") from error
            raise StoreError(f"{self.path}: the store cannot be {done}: {cause}") from error
