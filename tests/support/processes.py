"""Real coordinator and party processes for tests: started, killed and started again, and a job followed to its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from fedbus.broker.node.node import Node
from fedbus.client import Client
from fedbus.messages.control import Progress, StateChanged
from fedbus.service.process import script
from federation import Federation, synthetic
from keyring import key_files
from rows import Rows

WAIT = 100.0


class Processes:
    """Coordinator and parties of a federation as processes that are started, killed and started again."""

    def __init__(self, federation: Federation | Rows, node: Node) -> None:
        self.federation = federation
        self.node = node
        self.running: dict[str, subprocess.Popen[str]] = {}
        self.urls: dict[str, str] = {}
        names = ", ".join(f'"{name}"' for name in federation.spec().parties)
        text = f'name = "coordinator"\nstate = "state/coordinator.db"\nprocesses = 1\nparties = [{names}]\n'
        (federation.folder / "coordinator.toml").write_text(text)

    def start(self, *names: str, **environment: str) -> None:
        """Start some at the same time, and wait until all serve."""
        for name in names:
            self.running[name] = self._launch(name, environment)
        for name in names:
            line = _stream(self.running[name].stdout).readline()
            assert "serving" in line, self.log(name)
            self.urls[name] = line.split("metrics at ")[1].strip()

    def start_all(self, **environment: str) -> None:
        self.start("coordinator", *self.federation.spec().parties, **environment)

    def _launch(self, name: str, environment: dict[str, str]) -> subprocess.Popen[str]:
        command = script("fedbus-coordinator" if name == "coordinator" else "fedbus-party")
        with (self.federation.folder / f"{name}.log").open("a") as log:
            return subprocess.Popen(
                [*command, "--config", str(self.federation.folder / f"{name}.toml"), "--until-end-of-input"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={
                    **os.environ,
                    "FEDBUS_AMQP_URL": self.node.url(name),
                    "FEDBUS_SIMULATION": "true",
                    **key_files(self.federation.folder / "keys", name, *self.federation.spec().parties).environment(),
                    **environment,
                },
            )

    def end(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait; returns the exit status."""
        return self._end([name], number)[name]

    def end_all(self, *names: str) -> dict[str, int]:
        """Ask some, or all, to end at the same time, and wait; returns the exit statuses."""
        return self._end(list(names or self.running), signal.SIGTERM)

    def _end(self, names: list[str], number: signal.Signals) -> dict[str, int]:
        for name in names:
            self.running[name].send_signal(number)
        return {name: self._wait(name) for name in names}

    def _wait(self, name: str) -> int:
        child = self.running[name]
        try:
            status = child.wait(WAIT)
        except subprocess.TimeoutExpired as error:
            # It must not serve the next test's queues; first it says where it hangs.
            child.send_signal(signal.SIGUSR1)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(1.0)
            self._kill(name)
            raise AssertionError(f"{name} did not end: {self.log(name)}") from error
        self._kill(name)
        return status

    @contextlib.contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Stop a process meanwhile: a job that needs it does not come to its end while something is prepared."""
        self.running[name].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.running[name].send_signal(signal.SIGCONT)

    def kill_all(self) -> None:
        """End what still runs, however the test ended: nothing may serve the next test's queues."""
        for name in list(self.running):
            self._kill(name)

    def _kill(self, name: str) -> None:
        child = self.running.pop(name)
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            _stream(pipe).close()

    def log(self, name: str) -> str:
        return (self.federation.folder / f"{name}.log").read_text()

    def metrics(self, name: str) -> str:
        with urllib.request.urlopen(self.urls[name], timeout=10) as page:  # noqa: S310
            return str(page.read().decode())


def _stream(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def follow(
    client: Client,
    job: str,
    at: dict[int, Callable[[], None]] | None = None,
    parties: Sequence[str] = ("shop", "bank"),
) -> dict[str, Any]:
    """The job's last report or state; `at` says what to do once a round has been seen."""
    todo = dict(at or {})
    for event in client.watch(job, WAIT):
        if isinstance(event, Progress):
            for round_ in [r for r in todo if r <= event.round]:
                todo.pop(round_)()
        elif isinstance(event, StateChanged) and event.state in ("succeeded", "failed", "cancelled"):
            assert not todo, "the job ended before the test could do what it is for"
            # Otherwise a party might be asked how the job ended before it has heard of it.
            assert not client.wait_ended(job, parties, WAIT)
            return event.report or {"state": event.state, "reason": event.reason}
    raise AssertionError("unreachable")


def small(folder: Path, **params: Any) -> Federation:
    """A job of 40 rounds on 60 rows, whose participants ask for what a killed one owes them after two seconds."""
    course = {"max_epochs": 40, "tolerance": 0.0, "learning_rate": 0.2, "momentum": 0.5}
    federation = synthetic(folder, **{**course, **params})
    federation.limits = {"resend": 2.0}
    return federation
