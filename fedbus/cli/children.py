"""Members' processes as children of a command: started, waited for until they serve, and ended with it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from fedbus.errors import FedbusError

END_SECONDS = 10.0
_LINES = 5


class MemberProcess:
    """A process that ends when this one does, however that ends.

    Args:
        name: the member's.
        log: gets what it writes to standard error, beside what is there.
        apart: whether Ctrl-C reaches it only by way of this process.

    Attributes:
        process: the process itself.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path, *, apart: bool = False
    ) -> None:
        self.name = name
        self.log = log
        with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as file:  # noqa: PTH123
            self._before = file.tell()
            self.process = subprocess.Popen(  # noqa: S603  # our own scripts
                [*command, "--until-end-of-input"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True, env=dict(environment),
                process_group=0 if apart else None,
            )  # fmt: skip

    def wait_ready(self) -> str:
        """Wait until it serves, and return the line by which it says so.

        Raises:
            FedbusError: it ended instead; with the end of its log.
        """
        assert self.process.stdout is not None  # noqa: S101  # it is a pipe
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise FedbusError(f"{self.name} did not start: " + " / ".join(self.tail()))
        return line.rstrip("\n")

    def tail(self) -> list[str]:
        """Return the last lines that it has written to its log."""
        with self.log.open(encoding="utf-8", errors="replace") as file:
            file.seek(self._before)
            return file.read().strip().splitlines()[-_LINES:]

    def ask_to_end(self) -> None:
        """Send it SIGTERM, and do not wait."""
        self.process.terminate()

    def end(self) -> None:
        """Ask it to end, wait for that, and kill it where it takes too long."""
        self.process.terminate()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            _close(pipe)


@contextlib.contextmanager
def member_process(
    name: str, command: Sequence[str], environment: Mapping[str, str], log: Path, *, apart: bool = False
) -> Iterator[MemberProcess]:
    """Start a process that is ended with the context; see `MemberProcess`."""
    started = MemberProcess(name, command, environment, log, apart=apart)
    try:
        yield started
    finally:
        started.end()


def _close(pipe: IO[str] | None) -> None:
    if pipe is not None:
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
