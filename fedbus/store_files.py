"""The files of a store: who may read them, who works on them, how SQLite writes them."""

from __future__ import annotations

import fcntl
import stat
from pathlib import Path
from typing import Any

from fedbus.errors import StoreInUse


def configure(connection: Any, _: Any) -> None:
    """A new connection: what was acknowledged must survive a loss of power, and what is deleted is overwritten."""
    # FULL: what was acknowledged must survive a loss of power too; costs one fsync a transaction.
    # A small cache: what is long is written once and rarely read.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "cache_size=-256"):
        connection.execute(f"PRAGMA {pragma}")


def make_private(path: Path) -> None:
    """Nobody but the owner reads it."""
    if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o600)


def lock(path: Path) -> Any:
    """The open lock file, to be closed by who holds the store; raises StoreInUse, OSError."""
    file = path.open("a+", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise StoreInUse(f"{path.with_suffix('')}: another process works on this store") from None
    return file
