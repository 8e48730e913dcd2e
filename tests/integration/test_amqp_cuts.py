"""A connection that is lost between a command and its answer, and an I/O thread that ends: nothing waits for ever."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from pika.channel import Channel
from structlog.testing import capture_logs

from fedbus import topology
from fedbus.broker.base import Delivery, Outgoing
from fedbus.broker.node.node import Node
from fedbus.broker.rabbitmq.broker import AmqpBroker
from fedbus.broker.rabbitmq.link import Connection
from fedbus.errors import BrokerError, ConnectionLost
from fedbus.topology import Queue
from keyring import key_files

SECONDS = 30.0
Connect = Callable[..., AmqpBroker]
SERVE_WITH_A_BROKEN_BROKER = """
import sys
from pathlib import Path
from fedbus import settings
from fedbus.service import process
from fedbus.errors import FedbusError

class Service:
    def __init__(self, config, broker, *_):
        self.broker = broker
    def start(self):
        self.broker._io.post(lambda: 1 / 0)
    def stop(self):
        print("stopped", flush=True)
    def join(self):
        pass

process.configure_logging()
try:
    process.run(settings.load_coordinator(Path(sys.argv[1])), Service)
except FedbusError as error:
    print(error, flush=True)
    sys.exit(error.exit_status)
"""


def job_queue() -> Queue:
    """A job queue that no other test uses."""
    return topology.job_queue("coordinator", uuid.uuid4().hex)


def to(target: Queue, body: bytes) -> Outgoing:
    """A message for a job queue."""
    ((exchange, pattern),) = target.bindings
    return Outgoing(exchange, pattern.replace("*", "coordinator", 1), body, uuid.uuid4().hex)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a state that nothing announces."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


class Cutter:
    """Cuts a consuming connection right after a command, so that its answer is never read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.cuts = 0

    def after(self, owner: type, method: str, number: int = 1) -> None:
        """Cut once, after so many calls of a method of pika's."""
        original = getattr(owner, method)
        left = number

        def then_cut(self_: Any, *arguments: Any, **named: Any) -> Any:
            nonlocal left
            result = original(self_, *arguments, **named)
            connection = self_ if owner is Connection else self_.connection
            if connection.params.client_properties["connection_name"] == "fedbus consume":
                left -= 1
                if left == 0:
                    self.cuts += 1
                    connection._terminate_stream(ConnectionLost("cut by a test"))
            return result

        self._monkeypatch.setattr(owner, method, then_cut)


@pytest.fixture
def cutter(monkeypatch: pytest.MonkeyPatch) -> Cutter:
    return Cutter(monkeypatch)


def test_a_subscription_outlives_a_cut_while_its_channel_opens(connect: Connect, cutter: Cutter) -> None:
    broker, target = connect(), job_queue()
    broker.declare([target])
    cutter.after(Connection, "channel")
    received: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
    broker.consume(target.name, received.put)
    broker.publish(to(target, b"kept")).result(SECONDS)
    assert received.get(timeout=SECONDS).body == b"kept"
    assert (cutter.cuts, broker.epoch) == (1, 2)


@pytest.mark.parametrize("number", [1, 2], ids=["for the exchanges", "for the queue"])
def test_a_declaration_outlives_a_cut_while_its_channel_opens(connect: Connect, cutter: Cutter, number: int) -> None:
    broker, target = connect(), job_queue()
    broker.connect()
    cutter.after(Connection, "channel", number)
    broker.declare([target], timeout=SECONDS)
    assert broker.publish(to(target, b"")).result(SECONDS) is None
    assert (cutter.cuts, broker.epoch) == (1, 2)


@pytest.mark.parametrize("number", [1, 2], ids=["for the exchanges", "for the queue"])
def test_a_declaration_outlives_a_cut_while_its_channel_closes(connect: Connect, cutter: Cutter, number: int) -> None:
    broker, target = connect(), job_queue()
    broker.connect()
    cutter.after(Channel, "close", number)
    broker.declare([target], timeout=SECONDS)
    assert broker.publish(to(target, b"")).result(SECONDS) is None
    assert cutter.cuts == 1


def test_an_error_in_the_io_thread_fails_all_that_waits_and_is_told(connect: Connect) -> None:
    told: Future[BrokerError] = Future()
    with capture_logs() as logs:
        broker = connect("amqp://ann:pw1@127.0.0.1:1/", on_end=told.set_result)
        subscription = broker.consume("q", lambda delivery: delivery.ack())
        pending = broker.publish(Outgoing(topology.JOBS, topology.SUBMIT, b"", "m"))
        declared: Future[BrokerError] = Future()

        def declare() -> None:
            try:
                broker.declare([job_queue()], timeout=None)
            except BrokerError as error:
                declared.set_result(error)

        waiting = threading.Thread(target=declare, daemon=True)
        waiting.start()
        wait_until(lambda: bool(broker._declaring))
        broker._io.post(lambda: [][0])
        error = told.result(SECONDS)
        assert "internal error" in str(error)
        assert "IndexError" in str(error)
        assert pending.exception(SECONDS) is declared.result(SECONDS) is error
        assert subscription.error is error
    for attempt in (
        lambda: broker.publish(Outgoing(topology.JOBS, topology.SUBMIT, b"", "m")).result(SECONDS),
        lambda: broker.declare([], timeout=None),
        lambda: broker.connect(timeout=None),
        lambda: broker.consume("q", lambda delivery: delivery.ack()),
    ):
        with pytest.raises(BrokerError, match="internal error"):
            attempt()
    ended = [line for line in logs if line["log_level"] == "error"]
    assert [type(line["exc_info"]) for line in ended] == [IndexError]


def test_close_is_no_error(connect: Connect) -> None:
    told: list[BrokerError] = []
    with capture_logs() as logs:
        broker = connect(on_end=told.append)
        broker.connect()
        broker.close()
    assert (told, [line for line in logs if line["log_level"] == "error"]) == ([], [])


def test_a_declaration_that_waits_ends_with_close(connect: Connect) -> None:
    broker, failed = connect(), Future[BrokerError]()
    # Another connection's own: tried again and again.
    watch = topology.watch_queue("coordinator", uuid.uuid4().hex)
    connect().declare([watch])

    def declare() -> None:
        try:
            broker.declare([watch], timeout=None)
        except BrokerError as error:
            failed.set_result(error)

    waiting = threading.Thread(target=declare, daemon=True)
    waiting.start()
    wait_until(lambda: any(request.error for request in broker._declaring))
    broker.close()
    assert "closed" in str(failed.result(SECONDS))


def test_a_process_whose_broker_breaks_down_ends_with_a_status(tmp_path: Path, node: Node) -> None:
    file = tmp_path / "coordinator.toml"
    file.write_text('[metrics]\naddress = "127.0.0.1:0"\n')
    done = subprocess.run(
        [sys.executable, "-c", SERVE_WITH_A_BROKEN_BROKER, str(file)],
        env={
            **os.environ,
            "FEDBUS_AMQP_URL": node.url("coordinator"),
            "FEDBUS_PROCESSES": "0",
            **key_files(tmp_path / "keys", "coordinator").environment(),
        },
        capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == BrokerError.exit_status
    assert "internal error in the connection" in done.stdout
    assert "stopped" in done.stdout
    assert "ZeroDivisionError" in done.stderr
