"""A store is read here from beside the process that works on it.
Only its models and its audit log are read, so that nothing disturbs the jobs.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from fedbus.audit import Head, Record
from fedbus.errors import AuditBroken, StoreError
from fedbus.files import exists, is_file
from fedbus.store import tables as t
from fedbus.store.checks import opened
from fedbus.store.files import beside
from fedbus.store.versions import HEADER_BYTES, WRITE_AHEAD, check_header

# How long a reader waits for the process that works on the store.
_BUSY_SECONDS = 5.0


class Reader:
    """It opens a store for reading its models and its audit log only, and takes no lock.

    Raises:
        StoreError: there is no such file, or it is no store whose models this version reads.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            if not is_file(path):
                raise StoreError(f"{path}: there is no such store; a party's file names its own as `state`")
            with path.open("rb") as file:
                check_header(path, file.read(HEADER_BYTES))
            # Without a write-ahead log no process has it open, and SQLite need not make the files that readers share.
            mode = "mode=ro" if exists(beside(path, WRITE_AHEAD)) else "immutable=1"
        except OSError as error:
            raise StoreError(f"{path}: the store cannot be read: {error.strerror}") from error
        with self._reading():
            uri = f"file:{quote(str(path.absolute()))}?{mode}"
            self._connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def models(self) -> list[str]:
        """Return the jobs of which the store has a model, oldest first."""
        with self._reading():
            found = self._connection.execute(t.MODEL_IDS).fetchall()
        return [job for (job,) in found]

    def model(self, job: str) -> tuple[bytes, float] | None:
        """Return the model of a job, and when it was kept (seconds since 1970)."""
        with self._reading():
            found = self._connection.execute(t.MODEL, (job,)).fetchone()
        if found is None:
            return None
        _, share, created_at = opened(self._path, t.models.name, found, job)
        return share, created_at

    def audit(self) -> tuple[list[Record], Head]:
        """Return the records of the audit log, as they are, and where the store says that it ends.

        Raises:
            StoreError: the store is of a version without an audit log.
            AuditBroken: the store does not say where the log ends.
        """
        with self._reading():
            tables = {name for (name,) in self._connection.execute("SELECT name FROM sqlite_schema")}
            if t.audit.name not in tables:
                raise StoreError(f"{self._path}: has no audit log; fedbus-party adds one when it is started")
            # One state of both, whatever the process writes meanwhile.
            self._connection.execute("BEGIN")
            try:
                rows = self._connection.execute(t.AUDIT).fetchall()
                head = self._connection.execute(t.AUDIT_HEAD).fetchone()
            finally:
                self._connection.execute("ROLLBACK")
        try:
            records = [Record(int(number), str(entry), bytes(digest)) for number, entry, digest, _ in rows]
        except (TypeError, ValueError):
            raise AuditBroken(f"{self._path}: a record of the audit log is damaged: it holds other types") from None
        if head is None:
            if records:
                raise AuditBroken(f"{self._path}: the store does not say where its audit log ends")
            return records, Head()
        _, number, digest = opened(self._path, t.audit_head.name, head, "the audit log")
        return records, Head(number, digest)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: the store cannot be read: {error}") from error
