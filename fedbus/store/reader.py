"""A store is read here from beside the process that works on it.
Only its models are read, so that nothing disturbs the jobs.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from fedbus.errors import StoreError
from fedbus.files import exists, is_file
from fedbus.store import tables as t
from fedbus.store.checks import opened
from fedbus.store.files import beside
from fedbus.store.versions import HEADER_BYTES, WRITE_AHEAD, check_header

# How long a reader waits for the process that works on the store.
_BUSY_SECONDS = 5.0


class Reader:
    """It opens a store for reading its models only, and takes no lock.

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

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: the store cannot be read: {error}") from error
