"""The RabbitMQ broker against what only a real server does: refusals, alarms, cut connections, a crash."""

from __future__ import annotations

import queue
import ssl
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from fedbus import topology
from fedbus.broker.base import Delivery, Outgoing
from fedbus.broker.node.node import Node
from fedbus.broker.rabbitmq import link as links
from fedbus.broker.rabbitmq.broker import AmqpBroker
from fedbus.broker.rabbitmq.link import Outage
from fedbus.broker.rabbitmq.login import Login
from fedbus.certificates.files import TlsFiles
from fedbus.errors import AccessRefused, ConfigError, ConnectionLost, Nacked, Unroutable
from fedbus.topology import Queue

SECONDS = 30.0
Connect = Callable[..., AmqpBroker]


def job_queue(party: str = "coordinator") -> Queue:
    """A job queue that no other test uses."""
    return topology.job_queue(party, uuid.uuid4().hex)


def to(target: Queue, body: bytes = b"", sender: str = "coordinator") -> Outgoing:
    """A message for a job queue."""
    ((exchange, pattern),) = target.bindings
    return Outgoing(exchange, pattern.replace("*", sender, 1), body, uuid.uuid4().hex)


def receive(broker: AmqpBroker, target: Queue) -> queue.SimpleQueue[Delivery]:
    """What arrives in a queue."""
    received: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
    broker.consume(target.name, received.put)
    return received


def wait_until(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Wait for a state that nothing announces."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_wrong_password_is_refused_at_once_and_never_shown(node: Node, connect: Connect) -> None:
    right = urlsplit(node.url("coordinator")).password
    assert right is not None
    url = node.url("coordinator").replace(right, "s3cret-wr0ng")
    began = time.monotonic()
    with capture_logs() as logs:
        broker = connect(url)
        pending = broker.publish(Outgoing(topology.JOBS, topology.SUBMIT, b"", "m"))
        errors = []
        for attempt in (broker.connect, lambda: broker.declare([]), lambda: pending.result(SECONDS)):
            with pytest.raises(AccessRefused, match="refuses user coordinator") as refused:
                attempt()
            errors.append(repr(refused.value) + str(refused.value.__cause__) + str(refused.value.__context__))
    # Each of them waits as long for a broker that does not answer.
    assert time.monotonic() - began < SECONDS
    assert logs
    assert "s3cret-wr0ng" not in repr(logs) + repr(errors)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("amqp://ann:pw1@h:port/", "not a broker URL"),
        ("http+x://ann:pw1@h/", "not a broker URL"),
        ("amqp:/ann:pw1-h", "not a broker URL"),
        ("amqp://h/#pw1", "not a broker URL"),
        ("amqp://ann@h/", "special characters percent-encoded"),
        ("amqp://a:pw1@h/?n=pw1", "special characters percent-encoded"),
        ("amqp://a:pw1 @h/", "%20"),
        ("amqp://a:pw1\n@h/", "one line"),
        *((f"amqp://a:x{character}pw1@h/", "%40 for @, %2F for /, %3F for .* %23 for #") for character in "@/?#"),
        ("amqp://pw1:p@ss/w#rd@127.0.0.1:5672/", "percent-encoded"),
    ],
)
def test_a_url_that_is_none_is_refused_without_a_part_of_it(url: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as wrong:
        AmqpBroker(url)
    assert not any(part in str(wrong.value) for part in ("pw1", "ann", "ss/w", "127.0.0.1"))
    assert wrong.value.__suppress_context__ or wrong.value.__context__ is None


def test_an_outage_is_told_once_a_minute_and_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(links.time, "monotonic", lambda: now)
    with capture_logs() as logs:
        outage = Outage("h:5", links=2)
        outage.up()
        outage.up()
        outage.down()
        outage.down()
        for now in range(1, 100):
            outage.tell("no connection", f"refused {now}", 1.0)
        outage.up()
        assert logs[-1]["log_level"] == "warning"
        outage.up()
    assert [(line["log_level"], line.get("error")) for line in logs] == [
        ("info", None),
        ("warning", "refused 1"),
        ("warning", "refused 61"),
        ("info", None),
    ]


def test_a_wrong_port_is_one_warning(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "delay", lambda _: 0.01)
    with capture_logs() as logs:
        broker = connect("amqp://ann:pw1@127.0.0.1:1/")
        tried = threading.Semaphore(0)
        failures = broker._on_failed

        for link in broker._links:
            link._failed = lambda error: (failures(error), tried.release())
        for _ in range(10):
            assert tried.acquire(timeout=SECONDS)
        broker.close()
    warnings = [line for line in logs if line["log_level"] == "warning"]
    assert len(warnings) == 1
    assert "127.0.0.1:1" in warnings[0]["error"]


def test_the_certificate_of_an_amqps_server_is_verified() -> None:
    options = Login("amqps://ann:pw1@h/", TlsFiles()).parameters(30, "test").ssl_options
    assert (options.context.verify_mode, options.context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert options.context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_nobody_listens(connect: Connect) -> None:
    broker = connect("amqp://ann:pw1@127.0.0.1:1/")
    for attempt in (broker.connect, lambda timeout: broker.declare([], timeout)):
        with pytest.raises(ConnectionLost, match=r"127\.0\.0\.1:1.*check that it runs") as lost:
            attempt(0.3)
        assert "pw1" not in str(lost.value)


def test_a_party_publishes_under_its_own_name_only(connect: Connect) -> None:
    coordinator, bob, target = connect(), connect("bob"), job_queue("alice")
    coordinator.declare([target])
    futures = [bob.publish(to(target, str(n).encode(), "alice" if n == 20 else "bob")) for n in range(40)]
    refused = [future.exception(SECONDS) for future in futures]
    assert [index for index, error in enumerate(refused) if error is not None] == [20]
    assert isinstance(refused[20], AccessRefused)
    # The broker closed the channel, so what it had not confirmed yet may have been published twice.
    received, arrived = receive(connect("alice"), target), set[bytes]()
    while arrived != {str(n).encode() for n in range(40) if n != 20}:
        delivery = received.get(timeout=SECONDS)
        delivery.ack()
        arrived.add(delivery.body)


def test_a_party_cannot_claim_to_be_another_user(node: Node, connect: Connect) -> None:
    coordinator, target = connect(), job_queue("alice")
    coordinator.declare([target])
    impostor = connect(node.url("bob"), user="carol")
    with pytest.raises(AccessRefused, match="user_id"):
        impostor.publish(to(target, sender="bob")).result(SECONDS)


def test_a_party_neither_reads_anothers_queue_nor_declares(connect: Connect) -> None:
    coordinator, bob, target = connect(), connect("bob"), job_queue("alice")
    coordinator.declare([target])
    with pytest.raises(AccessRefused):
        bob.declare([job_queue("bob")])
    with pytest.raises(AccessRefused):
        bob.declare([])
    coordinator.publish(to(target, b"for alice")).result(SECONDS)
    subscription = bob.consume(target.name, lambda _: pytest.fail("read another party's queue"))
    wait_until(lambda: isinstance(subscription.error, AccessRefused))
    alice = connect("alice")
    delivery = receive(alice, target).get(timeout=SECONDS)
    assert (delivery.body, delivery.redelivered) == (b"for alice", False)


def test_a_client_declares_its_watch_queue_without_a_right_to_exchanges(connect: Connect) -> None:
    connect().declare([])
    client = connect("client")
    watch = topology.watch_queue("client", uuid.uuid4().hex)
    client.declare([watch])
    received = receive(client, watch)
    connect("bob").publish(Outgoing(topology.EVENTS, "bob.j.loss", b"0.5", "m")).result(SECONDS)
    assert received.get(timeout=SECONDS).user == "bob"


def test_a_missing_exchange_is_unroutable(connect: Connect) -> None:
    broker = connect()
    with pytest.raises(Unroutable, match="no exchange"):
        broker.publish(Outgoing("fedbus.nowhere", "k", b"", "m", mandatory=False)).result(SECONDS)


def test_what_a_full_queue_refuses_is_published_when_there_is_room(connect: Connect) -> None:
    broker, target = connect(), job_queue()
    broker.declare([replace(target, arguments={**target.arguments, "x-max-length": 1})])
    impatient = connect(nack_seconds=0.0)
    while (error := impatient.publish(to(target)).exception(SECONDS)) is None:
        pass
    assert isinstance(error, Nacked)
    patient = broker.publish(to(target, b"patient"))
    other = job_queue()
    broker.declare([other])
    # One full queue holds up nothing else.
    broker.publish(to(other)).result(SECONDS)
    received = receive(broker, target)
    while (delivery := received.get(timeout=SECONDS)).body != b"patient":
        delivery.ack()
    assert patient.result(SECONDS) is None


def test_a_handler_that_blocks_for_three_heartbeats_keeps_the_connection(connect: Connect) -> None:
    broker, target = connect(heartbeat=1), job_queue()
    broker.declare([target])
    epoch, done = broker.epoch, threading.Event()

    def handler(delivery: Delivery) -> None:
        if not done.is_set():
            time.sleep(3.5)
        delivery.ack()
        done.set()

    broker.consume(target.name, handler)
    broker.publish(to(target)).result(SECONDS)
    assert done.wait(SECONDS)
    assert broker.publish(to(target)).result(SECONDS) is None
    assert broker.epoch == epoch == 1


def test_a_memory_alarm_stops_publications_but_not_acknowledgements(node: Node, connect: Connect) -> None:
    broker, target = connect(), job_queue()
    broker.declare([target])
    for number in range(3):
        broker.publish(to(target, str(number).encode())).result(SECONDS)
    received = receive(broker, target)
    deliveries = [received.get(timeout=SECONDS) for _ in range(3)]
    node.rabbitmqctl("set_vm_memory_high_watermark", "0.00001")
    try:
        held = broker.publish(to(target, b"held"))
        deliveries[0].ack()
        # Given back and delivered again: both ways work while the publication waits.
        deliveries[1].requeue()
        again = received.get(timeout=SECONDS)
        assert (again.body, again.redelivered) == (b"1", True)
        again.ack()
        assert not held.done()
    finally:
        node.rabbitmqctl("set_vm_memory_high_watermark", "0.6")
    assert held.result(SECONDS) is None
    assert received.get(timeout=SECONDS).body == b"held"
    assert broker.epoch == 1


def test_close_ends_in_time_although_publications_are_blocked(node: Node, connect: Connect) -> None:
    broker, target = connect(), job_queue()
    broker.declare([target])
    broker.publish(to(target)).result(SECONDS)
    node.rabbitmqctl("set_vm_memory_high_watermark", "0.00001")
    try:
        held = broker.publish(to(target, b"held"))
        began = time.monotonic()
        broker.close(timeout=0.5)
        # Without its argument it would wait for ten seconds.
        assert time.monotonic() - began < 9
        with pytest.raises(ConnectionLost, match="closed"):
            held.result(0)
    finally:
        node.rabbitmqctl("set_vm_memory_high_watermark", "0.6")


def test_publisher_and_consumer_outlive_a_crash_of_the_broker(
    tmp_path: Path, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not the longer, the longer the broker takes to start.
    monkeypatch.setattr(links, "delay", lambda _: 0.1)
    with Node(tmp_path / "node") as node:
        broker = connect(node.url("coordinator"))
        target = job_queue()
        broker.declare([target])
        received: set[bytes] = set()
        everything = threading.Event()
        bodies = {str(number).encode() for number in range(600)}

        def handler(delivery: Delivery) -> None:
            received.add(delivery.body)
            delivery.ack()
            if received == bodies:
                everything.set()

        broker.consume(target.name, handler)
        futures: list[Future[None]] = [broker.publish(to(target, str(number).encode())) for number in range(200)]
        futures[0].result(SECONDS)
        # RabbitMQ saves the names of new quorum queues twice a second, unannounced; one that was not saved when the
        # broker is killed stays unusable (see DESIGN.md: declare early).
        time.sleep(1.5)
        futures += [broker.publish(to(target, str(number).encode())) for number in range(200, 400)]
        node.kill()
        futures += [broker.publish(to(target, str(number).encode())) for number in range(400, 600)]
        node.start()
        for future in futures:
            future.result(60)
        assert everything.wait(60)
        assert broker.epoch >= 2
        broker.close()
