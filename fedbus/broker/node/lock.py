"""A lock says whose a node's folder is:
two servers on one folder would take each other's ports and logs for their own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from fedbus.errors import BrokerError

_NAME = "lock"
_DIGITS = 20


@contextlib.contextmanager
def locked(
    folder: Path, remedy: str = "end that process, or name another folder, and another --port"
) -> Iterator[None]:
    """Keep a folder for this process alone. The folder is made where it is missing, and the lock goes with the process.

    Args:
        remedy: what to do where another process has it.

    Raises:
        BrokerError: another process runs a node in it; with its id and what to do.
        OSError: it cannot be made or written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Children do not inherit it: a server that outlives this process for a moment holds no lock.
    descriptor = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BrokerError(
                f"{folder}: process {_owner(descriptor)} runs a RabbitMQ node in this folder already; {remedy}"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)


def _owner(descriptor: int) -> str:
    """Return who holds the lock. Between taking it and saying so there is a moment."""
    text = os.pread(descriptor, _DIGITS, 0).decode("ascii", "replace")
    return text if text.isdecimal() else f"(see `fuser {_NAME}`)"
