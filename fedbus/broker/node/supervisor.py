"""This program runs one epmd and one RabbitMQ server, and ends both when the process that started it goes,
however that goes.

    python supervisor.py PARENT REMOVE EPMD SERVER

PARENT is the process id to watch; REMOVE a folder to delete when the parent is gone, or "". It ends on SIGTERM too. It
works in the folder of a node and writes there: console.log, and `groups`, the process groups that belong to the node.
Only the standard library: it runs alone, to be small and quick.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

EPMD_FAILED = 81
SERVER_ENDED = 82

_POLL_SECONDS = 0.2
_EPMD_SECONDS = 10.0
_REAP_SECONDS = 5.0
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def main(parent: int, remove: str, epmd: str, server: str) -> int:
    """Start both, and stay until one of them, or the parent, ends. Return the exit status."""
    os.umask(0o077)
    _adopt_orphans()
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    children: list[subprocess.Popen[bytes]] = []
    try:
        with Path("console.log").open("ab") as log:
            port = os.environ["ERL_EPMD_PORT"]
            children.append(_start([epmd, "-address", "127.0.0.1", "-port", port], log.fileno()))
            if not _listens(int(port), children[0]):
                return EPMD_FAILED
            children.append(_start([server], log.fileno()))
        Path("groups").write_text(" ".join(str(child.pid) for child in children), "ascii")
        while os.getppid() == parent:
            if children[0].poll() is not None:
                return EPMD_FAILED
            if children[1].poll() is not None:
                return SERVER_ENDED
            time.sleep(_POLL_SECONDS)
    finally:
        for child in reversed(children):
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        _reap()
        Path("groups").unlink(missing_ok=True)
    if remove:
        shutil.rmtree(remove, ignore_errors=True)
    return 0


def _start(command: list[str], log: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  # given by Node
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
    )


def _listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + _EPMD_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            time.sleep(0.02)  # where the port was another's, this epmd is about to say so and end
            return process.poll() is None
        time.sleep(0.01)
    return False


def _adopt_orphans() -> None:
    """Become the parent of what the server's scripts leave, in place of init, which not every container has."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _reap() -> None:
    """Wait until all are gone: Erlang's port programs end by themselves when their virtual machine does."""
    end = time.monotonic() + _REAP_SECONDS
    with suppress(ChildProcessError):
        while time.monotonic() < end:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.005)


def _leave(_: int, __: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]))
