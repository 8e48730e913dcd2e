"""A node, a coordinator and parties that can be killed, and the client who follows one job."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import kinds

from fedbus import client as clients
from fedbus.algorithms import registry
from fedbus.broker.node.node import Node
from fedbus.broker.rabbitmq.broker import AmqpBroker
from fedbus.client import Client
from fedbus.credentials import Credentials
from fedbus.errors import BrokerError, FedbusError
from fedbus.messages.control import StateChanged

_STEADY = Path(__file__).with_name("steady.py")
_SERVES = b": serving"
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_DRAIN_SECONDS = 20.0


class Federation:
    """Everything that one run needs, in a folder of its own; all of it listens on 127.0.0.1 alone."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.folder = folder
        self.parties = kinds.write(kind, folder)
        self.names = ["coordinator", *self.parties]
        users = {"coordinator": "coordinator", "client": "client", **dict.fromkeys(self.parties, "party")}
        self.node = Node(folder / "node", users=users)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._served: dict[str, int] = {}

    def start(self) -> None:
        """Start the node and all processes, and wait until they serve."""
        self.node.start()
        for name in self.names:
            self.start_process(name)
        for name in self.names:
            self.wait_serving(name)

    def start_process(self, name: str) -> None:
        """Start one process; it is not waited for."""
        self._served[name] = self._log(name).count(_SERVES)
        role = "coordinator" if name == "coordinator" else "party"
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, str(_STEADY), role, "--config", f"{name}.toml", "--until-end-of-input"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={
                    **{key: value for key, value in os.environ.items() if not key.startswith("FEDBUS_")},
                    "FEDBUS_AMQP_URL": self.node.url(name),
                    "FEDBUS_SIMULATION": "true",
                },
            )

    def wait_serving(self, name: str) -> None:
        """Wait until a process says that it serves; not for ever, for it may not be able to without the broker."""
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and self._log(name).count(_SERVES) <= self._served[name]:
            time.sleep(0.05)

    def kill_process(self, name: str) -> None:
        """End one as a crash would."""
        child = self._running.pop(name)
        child.kill()
        child.wait()
        if child.stdin is not None:
            child.stdin.close()

    def lose_broker(self) -> None:
        """Kill the broker and take all its data away."""
        self.node.kill()
        shutil.rmtree(self.folder / "node" / "mnesia")

    def end_processes(self) -> list[str]:
        """Ask all to end; those that had to be killed."""
        for child in self._running.values():
            child.terminate()
        end = time.monotonic() + _STOP_SECONDS
        left = []
        for name, child in list(self._running.items()):
            try:
                child.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                left.append(name)
            self.kill_process(name)
        return left

    def queues_left(self) -> list[str]:
        """The job's queues that are still there some seconds after its end."""
        end = time.monotonic() + _DRAIN_SECONDS
        while True:
            listed = self.node.rabbitmqctl("list_queues", "name", "messages", "consumers", "--silent", timeout=60)
            left = [line for line in listed.splitlines() if f".job.{kinds.JOB}" in line]
            if not left or time.monotonic() > end:
                return left
            time.sleep(1.0)

    def tracebacks(self) -> int:
        """How many there are in the logs."""
        return sum(self._log(name).count(b"Traceback (most recent") for name in self.names)

    def _log(self, name: str) -> bytes:
        log = self.folder / f"{name}.log"
        return log.read_bytes() if log.exists() else b""

    def stop(self) -> None:
        """End what still runs."""
        for name in list(self._running):
            self.kill_process(name)
        self.node.stop()


class Follower:
    """A client that submits the job and follows it to its end, in a thread of its own."""

    def __init__(self, federation: Federation) -> None:
        self.ended: Future[StateChanged] = Future()
        self.parties_ended = False
        self._broker = AmqpBroker(federation.node.url("client"))
        self._federation = federation
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hear no more."""
        self._broker.close()

    def _run(self) -> None:
        try:
            self.ended.set_result(self._follow())
        except Exception as error:  # noqa: BLE001  # told to whoever waits for the end
            self.ended.set_exception(error)

    def _follow(self) -> StateChanged:
        # One id for all runs: the secrets of a job follow from it.
        vars(clients)["new_id"] = lambda _: kinds.JOB
        spec = registry.load(self._federation.folder / "job.toml")
        folder = self._federation.folder
        own = Credentials.of_client(folder / "client.key", folder / "roster.toml", "client")
        with Client(self._broker, credentials=own) as client:
            while True:
                try:
                    client.submit(spec)
                    break
                except BrokerError:
                    time.sleep(1.0)
            last = StateChanged("unknown")
            for event in client.watch(kinds.JOB):
                if isinstance(event, StateChanged):
                    last = event
            self.parties_ended = not client.wait_ended(kinds.JOB, self._federation.parties, 60.0)
            return last


def outcome(follower: Follower, limit: float) -> dict[str, Any]:
    """How the job ended, as its report says: state, reason and figures."""
    try:
        last = follower.ended.result(limit)
    except TimeoutError:
        return {"state": "stuck"}
    except FedbusError as error:
        return {"state": "not followed", "reason": str(error)}
    return {"state": last.state, "reason": last.reason, **(last.report or {})}
