"""What a federation makes of a broker that goes away, and a simulation of a process that dies."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedbus.broker.node.node import Node
from fedbus.broker.rabbitmq.broker import AmqpBroker
from fedbus.client import Client
from fedbus.messages.control import StateChanged
from fedbus.service.process import script
from federation import synthetic
from keyring import credentials
from processes import WAIT, Processes, follow, small

USERS = {"coordinator": "coordinator", "shop": "party", "bank": "party", "client": "client"}


@pytest.fixture
def own_node() -> Iterator[Node]:
    """A node that a test may stop."""
    with Node(users=USERS) as node:
        yield node


def test_an_outage_is_a_delay_and_sigterm_ends_a_process_meanwhile(
    tmp_path: Path, own_node: Node, processes: Callable[..., Processes]
) -> None:
    federation = small(tmp_path, max_epochs=60)
    running = processes(federation, own_node)
    running.start_all()
    ended: dict[str, int] = {}

    def outage() -> None:
        # Not killed: a quorum queue that is half a second old does not survive that in RabbitMQ 3.10.
        with running.held("shop"):
            own_node.rabbitmqctl("stop_app")
        ended.update(running.end_all("bank", "coordinator"))
        own_node.rabbitmqctl("start_app")
        running.start("bank", "coordinator")

    broker = AmqpBroker(own_node.url("client"))
    with Client(broker, credentials=credentials("client")) as client:
        report = follow(client, client.submit(federation.spec()), {5: outage})
    broker.close()
    assert ended == {"bank": 0, "coordinator": 0}
    assert report["state"] == "succeeded", report
    assert report["rounds"] == 60


def test_sigterm_ends_a_process_in_the_middle_of_long_arithmetic(
    tmp_path: Path, node: Node, processes: Callable[..., Processes]
) -> None:
    # Alignment takes the children many seconds from here on.
    federation = synthetic(tmp_path, rows=40_000, key_bits=2048, max_epochs=1)
    running = processes(federation)
    running.start_all()
    broker = AmqpBroker(node.url("client"))
    with Client(broker, credentials=credentials("client")) as client:
        events = client.watch(client.submit(federation.spec()), WAIT)
        assert any(isinstance(event, StateChanged) and event.state == "running" for event in events)
        assert running.end("bank") == 0
    broker.close()


def test_a_simulation_ends_with_a_process_that_dies(tmp_path: Path) -> None:
    federation = small(tmp_path, max_epochs=100_000)
    federation.write_job()
    command = [*script("fedbus"), "simulate", str(federation.job_file), "--broker", "amqp"]
    for file in federation.files:
        command += ["--party", str(file)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FEDBUS_")}
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert child.stderr is not None
    try:
        for line in child.stderr:
            if "round 3" in line:
                break
        os.kill(_child(child.pid, "fedbus-coordinator"), signal.SIGKILL)
        rest = child.stderr.read()
        assert child.wait(WAIT) == 1
    finally:
        child.kill()
        child.wait()
        child.stderr.close()
    assert "coordinator ended with status -9" in rest


def _child(parent: int, name: str) -> int:
    """The process of this parent whose command line holds the name."""
    for task in Path(f"/proc/{parent}/task").iterdir():
        for pid in (task / "children").read_text().split():
            if name in Path(f"/proc/{pid}/cmdline").read_text():
                return int(pid)
    raise AssertionError(f"{parent} has no child {name}")
