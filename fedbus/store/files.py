"""A store consists of several files.
This module says which file is a store, who may read it, who works on it, and how SQLite writes it.

Beside the store `bank.db` lie `bank.db-wal` and `bank.db-shm`, which are SQLite's log, and `bank.db.mark`, which says
how many transactions the store has at least. A store that has fewer has lost its log, or is an older copy.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import sqlite3
import stat
from pathlib import Path
from typing import Any

import structlog

from fedbus import files
from fedbus.errors import StoreError, StoreInUse
from fedbus.store import tables as t
from fedbus.store.versions import HEADER_BYTES, WRITE_AHEAD, check_ended, check_header

log = structlog.get_logger()

LOGS = (WRITE_AHEAD, "-shm")
MARK = ".mark"
_LOST = ".lost"


def beside(path: Path, suffix: str) -> Path:
    """Return the path of one of the store's files that lie beside it."""
    return path.with_name(path.name + suffix)


def configure(connection: Any, _: Any) -> None:
    """Set up a new connection: what was acknowledged must survive a loss of power,
    and what is deleted is overwritten.
    """
    # FULL: what was acknowledged must survive a loss of power too; costs one fsync a transaction.
    # A small cache: what is long is written once and rarely read.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "cache_size=-256"):
        connection.execute(f"PRAGMA {pragma}")


def hold(path: Path) -> int:
    """Open a store's file, which is made where there is none, and lock it for this process. Return its descriptor.

    The lock is on the file itself: whatever name another process knows it by, it cannot work on it meanwhile. A file
    that is no store is left as it is, and nothing is made beside it.

    Raises:
        StoreInUse: another process works on it.
        StoreError: it is no store of this version, nor one of the version before without jobs that go on, or may not be
            read and written.
    """
    try:
        if not files.exists(path):
            _make(path)
        descriptor = _open(path)
    except OSError as error:
        raise StoreError(f"{path}: the store cannot be opened: {files.reason(error, path)}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreInUse(f"{path}: another process works on this store") from None
        header = os.pread(descriptor, HEADER_BYTES, 0)
        check_header(path, header)
        _check_held(path, descriptor)
        check_ended(path, header)
        for suffix in ("", *LOGS, MARK):
            _make_private(beside(path, suffix))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_held(path: Path, descriptor: int) -> None:
    if not is_held(path, descriptor):
        raise StoreError(f"{path}: the file was replaced while it was opened; start again")


def is_held(path: Path, descriptor: int) -> bool:
    """Return whether the name still leads to the file that is held."""
    try:
        named, held = path.stat(), os.fstat(descriptor)
    except OSError:
        return False
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)


def _open(path: Path) -> int:
    kind = path.stat().st_mode
    if stat.S_ISDIR(kind):
        raise StoreError(f"{path}: is a folder; `state` names a file, {path / 'NAME.db'} for example")
    if not stat.S_ISREG(kind):
        raise StoreError(f"{path}: is no regular file; name another one as `state`")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError:
        raise StoreError(f"{path}: this user may not read and write it; run as its owner, or name another") from None
    if not os.access(path.absolute().parent, os.W_OK):
        os.close(descriptor)
        raise StoreError(
            f"{path}: its folder cannot be written, where SQLite keeps the store's log; let this user write there"
        )
    return descriptor


def _make(path: Path) -> None:
    """Make an empty store, complete before it has its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for suffix in LOGS:
        orphan = beside(path, suffix)
        if files.exists(orphan):
            kept = beside(orphan, _LOST)
            orphan.replace(kept)
            log.warning(
                "the store's file is gone but its log is there: an empty store is made, and the log is set aside",
                store=str(path),
                log=str(kept),
            )
    beside(path, MARK).unlink(missing_ok=True)
    made = beside(path, f".{secrets.token_hex(8)}.new")
    try:
        os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with contextlib.closing(sqlite3.connect(made)) as connection:
            connection.execute(f"PRAGMA application_id={t.APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={t.VERSION}")
            for statement in t.creation():
                connection.execute(statement)
            connection.execute(t.PUT_PROGRESS, t.progress_record(0, is_open=False))
            connection.commit()
        with contextlib.suppress(FileExistsError):
            # Unlike a rename it leaves alone what another process made meanwhile.
            path.hardlink_to(made)
        _make_durable(path.absolute().parent)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: the store cannot be made: {error}") from error
    finally:
        made.unlink(missing_ok=True)


def _make_durable(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_private(path: Path) -> None:
    """Nobody but the owner reads it."""
    if (at := files.found(path)) is None or not stat.S_IMODE(at.st_mode) & 0o077:
        return
    try:
        path.chmod(0o600)
    except OSError as error:
        raise StoreError(
            f"{path}: others may read it, and this user cannot change that ({error.strerror}); run as its owner"
        ) from error


class Mark:
    """It says how many transactions the store has at least, in a file that is written after each of them.

    It is not waited for until it is on the disk: after a loss of power it says too little, never too much.
    """

    def __init__(self, path: Path) -> None:
        self._path = beside(path, MARK)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def read(self) -> int | None:
        """Return what the file says; None where it says nothing that can be read."""
        text = os.pread(self._descriptor, 64, 0)
        number = text[:20]
        return int(number) if number.isdigit() and text == _marked(int(number)) else None

    def write(self, entries: int) -> None:
        """Enter a number of transactions, which are durable."""
        # A mark that is behind is no fault, and a full disk is for the store to tell.
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, _marked(entries), 0)

    def make_durable(self, entries: int) -> None:
        """Enter a number of transactions and wait until it is on the disk.
        From now on a store that is found open has a mark.
        """
        self.write(entries)
        with contextlib.suppress(OSError):
            os.fsync(self._descriptor)
            _make_durable(self._path.absolute().parent)

    def close(self) -> None:
        os.close(self._descriptor)


def _marked(entries: int) -> bytes:
    number = b"%020d" % entries
    return number + b" " + hashlib.blake2b(number, digest_size=8).hexdigest().encode() + b"\n"
