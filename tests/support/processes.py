"""Real coordinator and party processes for tests: started, killed and started again, and a job followed to its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedbus.broker.node import Node
from fedbus.client import Client
from fedbus.messages import Progress, StateChanged
from fedbus.process import script
from federation import Federation, synthetic

WAIT = 100.0


class Processes:
    """Coordinator and parties of a federation as processes that are started, killed and started again."""

    def __init__(self, federation: Federation, node: Node) -> None:
        self.federation = federation
        self.node = node
        self.running: dict[str, subprocess.Popen[str]] = {}
        self.urls: dict[str, str] = {}
        names = ", ".join(f'"{name}"' for name in (federation.guest, *federation.hosts))
        text = f'name = "coordinator"\nstate = "state/coordinator.db"\nprocesses = 1\nparties = [{names}]\n'
        (federation.folder / "coordinator.toml").write_text(text)

    def start(self, name: str, **environment: str) -> None:
        """Start one, and wait until it serves."""
        command = script("fedbus-coordinator" if name == "coordinator" else "fedbus-party")
        with (self.federation.folder / f"{name}.log").open("a") as log:
            child = subprocess.Popen(
                [*command, "--config", str(self.federation.folder / f"{name}.toml"), "--until-end-of-input"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={
                    **os.environ,
                    "FEDBUS_AMQP_URL": self.node.url(name),
                    "FEDBUS_SIMULATION": "true",
                    **environment,
                },
            )
        self.running[name] = child
        assert child.stdout is not None
        line = child.stdout.readline()
        assert "serving" in line, self.log(name)
        self.urls[name] = line.split("metrics at ")[1].strip()

    def start_all(self, **environment: str) -> None:
        for name in ("coordinator", self.federation.guest, *self.federation.hosts):
            self.start(name, **environment)

    def end(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait; returns the exit status."""
        child = self.running.pop(name)
        child.send_signal(number)
        try:
            status = child.wait(WAIT)
        except subprocess.TimeoutExpired as error:
            # It must not serve the next test's queues; first it says where it hangs.
            child.send_signal(signal.SIGUSR1)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(1.0)
            child.kill()
            child.wait()
            raise AssertionError(f"{name} did not end: {self.log(name)}") from error
        for pipe in (child.stdin, child.stdout):
            assert pipe is not None
            pipe.close()
        return status

    def log(self, name: str) -> str:
        return (self.federation.folder / f"{name}.log").read_text()

    def metrics(self, name: str) -> str:
        with urllib.request.urlopen(self.urls[name], timeout=10) as page:  # noqa: S310
            return str(page.read().decode())


def follow(client: Client, job: str, at: dict[int, Callable[[], None]] | None = None) -> dict[str, Any]:
    """The job's last report or state; `at` says what to do once a round has been seen."""
    todo = dict(at or {})
    for event in client.watch(job, WAIT):
        if isinstance(event, Progress):
            for round_ in [r for r in todo if r <= event.round]:
                todo.pop(round_)()
        elif isinstance(event, StateChanged) and event.state in ("succeeded", "failed", "cancelled"):
            assert not todo, "the job ended before the test could do what it is for"
            # Otherwise a party might be asked how the job ended before it has heard of it.
            assert not client.wait_ended(job, ["shop", "bank"], WAIT)
            return event.report or {"state": event.state, "reason": event.reason}
    raise AssertionError("unreachable")


def small(folder: Path, **params: Any) -> Federation:
    """A job of 40 rounds on 60 rows, whose participants ask for what a killed one owes them after two seconds."""
    course = {"max_epochs": 40, "tolerance": 0.0, "learning_rate": 0.2, "momentum": 0.5}
    federation = synthetic(folder, **{**course, **params})
    federation.limits = {"resend": 2.0}
    return federation
