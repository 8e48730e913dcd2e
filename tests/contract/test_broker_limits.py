"""Dead letters, full queues, deletion and the end of a connection: the same on every broker."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fedbus import topology
from fedbus.broker.base import (
    MAX_HEADERS_BYTES,
    QUEUE_HEADER,
    REASON_HEADER,
    SIZE_HEADER,
    USER_HEADER,
    Delivery,
    Outgoing,
)
from fedbus.broker.delivery import MAX_REASON_BYTES
from fedbus.errors import AccessRefused, ConnectionLost, Nacked, Unroutable
from fedbus.topology import Queue

if TYPE_CHECKING:
    from tests.contract.conftest import World

SECONDS = 20.0


def queue_of_its_own(**arguments: object) -> Queue:
    """A job queue that no other test uses, with some of its arguments changed."""
    queue = topology.job_queue("coordinator", uuid.uuid4().hex)
    changed = {"x-" + name.replace("_", "-"): value for name, value in arguments.items()}
    return replace(queue, arguments={**queue.arguments, **changed})


def to(queue: Queue, body: bytes = b"", message_id: str | None = None) -> Outgoing:
    """A message for a job queue."""
    ((exchange, pattern),) = queue.bindings
    return Outgoing(exchange, pattern.replace("*", "coordinator", 1), body, message_id or uuid.uuid4().hex)


def event(body: bytes) -> Outgoing:
    """An event that somebody must be watching."""
    return Outgoing(topology.EVENTS, "coordinator.j.progress", body, body[:8].hex())


def test_a_dead_letter_keeps_body_and_reason(world: World) -> None:
    broker, queue = world.connect(), queue_of_its_own()
    broker.declare([queue, topology.dead_queue()])
    inbox, dead = world.receive(broker, queue.name), world.receive(broker, topology.DEAD)
    message = replace(to(queue, b"\xff\x00", uuid.uuid4().hex), headers={"colour": "blue"})
    broker.publish(message).result(SECONDS)
    inbox.take().dead_letter("unknown version 9")
    letter = dead.find(message.message_id)
    assert (letter.body, letter.routing_key) == (b"\xff\x00", message.routing_key)
    assert dict(letter.headers) == {
        REASON_HEADER: "unknown version 9",
        QUEUE_HEADER: queue.name,
        USER_HEADER: "coordinator",
    }
    broker.publish(to(queue, b"next")).result(SECONDS)
    assert inbox.bodies(1) == [b"next"]


def test_a_dead_letter_keeps_the_beginning_of_a_long_body_and_its_size(world: World) -> None:
    broker, queue = world.connect(), queue_of_its_own()
    broker.declare([queue, topology.dead_queue()])
    inbox, dead = world.receive(broker, queue.name), world.receive(broker, topology.DEAD)
    bodies = [bytes(range(256)) * 256, bytes(range(256)) * 256 + b"x"]
    messages = [to(queue, body) for body in bodies]
    for message in messages:
        broker.publish(message).result(SECONDS)
        inbox.take().dead_letter("why")
    letters = [dead.find(message.message_id) for message in messages]
    assert [letter.body for letter in letters] == [bodies[0], bodies[0]]
    assert [letter.headers.get(SIZE_HEADER) for letter in letters] == [None, "65537"]


def test_a_long_reason_is_cut(world: World) -> None:
    broker, queue = world.connect(), queue_of_its_own()
    broker.declare([queue, topology.dead_queue()])
    inbox, dead = world.receive(broker, queue.name), world.receive(broker, topology.DEAD)
    message = to(queue)
    broker.publish(message).result(SECONDS)
    inbox.take().dead_letter("\ud800é" * 100_000)
    reason = dead.find(message.message_id).headers[REASON_HEADER]
    assert reason == "?é" * 332 + " …"
    assert len(reason.encode()) <= MAX_REASON_BYTES


def test_the_delivery_limit_ends_in_the_dead_letters(world: World) -> None:
    broker, queue = world.connect(), queue_of_its_own(delivery_limit=2)
    broker.declare([queue, topology.dead_queue()])
    inbox, dead = world.receive(broker, queue.name), world.receive(broker, topology.DEAD)
    message = to(queue, b"poison")
    broker.publish(message).result(SECONDS)
    redelivered = []
    for _ in range(3):
        delivery = inbox.take()
        redelivered.append(delivery.redelivered)
        delivery.requeue()
    letter = dead.find(message.message_id)
    assert redelivered == [False, True, True]
    assert letter.body == b"poison"
    assert letter.headers["x-first-death-reason"] == "delivery_limit"
    assert letter.headers["x-first-death-queue"] == queue.name


def test_a_full_queue_refuses_what_is_new(world: World) -> None:
    broker, queue = world.connect(), queue_of_its_own(max_length=3)
    broker.declare([queue])
    taken = []
    for number in range(30):
        body = str(number).encode()
        error = broker.publish(to(queue, body)).exception(SECONDS)
        if error is None:
            taken.append(body)
        else:
            assert isinstance(error, Nacked)
    assert 3 <= len(taken) < 30
    broker.publish(replace(to(queue), routing_key="coordinator.coordinator.other", mandatory=False)).result(SECONDS)
    inbox = world.receive(broker, queue.name)
    assert inbox.bodies(len(taken)) == taken


def test_headers_that_are_too_long_are_refused_at_once(world: World) -> None:
    broker, queue = world.connect(), queue_of_its_own()
    broker.declare([queue])
    fits = replace(to(queue), headers={"k": "é" * ((MAX_HEADERS_BYTES - 1) // 2)})
    assert broker.publish(fits).result(SECONDS) is None
    with pytest.raises(AccessRefused, match=str(MAX_HEADERS_BYTES)):
        broker.publish(replace(fits, headers={**fits.headers, "kk": ""})).result(0)


def test_a_handler_publishes_without_waiting(world: World) -> None:
    broker, queue, answers = world.connect(), queue_of_its_own(), queue_of_its_own()
    broker.declare([queue, answers])
    published: list[Future[None]] = []

    def answer(delivery: Delivery) -> None:
        published.append(broker.publish(to(answers, delivery.body), wait=False))
        delivery.ack()

    broker.consume(queue.name, answer)
    for number in range(5):
        broker.publish(to(queue, str(number).encode())).result(SECONDS)
    assert world.receive(broker, answers.name).bodies(5) == [b"0", b"1", b"2", b"3", b"4"]
    assert [future.result(SECONDS) for future in published] == [None] * 5
    broker.close()
    with pytest.raises(ConnectionLost):
        broker.publish(to(answers), wait=False).result(0)


def test_a_watcher_keeps_the_latest(world: World) -> None:
    broker = world.connect()
    watch = topology.watch_queue("coordinator", uuid.uuid4().hex)
    watch = replace(watch, arguments={**watch.arguments, "x-max-length": 5})
    broker.declare([watch])
    for number in range(12):
        broker.publish(event(str(number).encode())).result(SECONDS)
    assert world.receive(broker, watch.name).bodies(5) == [b"7", b"8", b"9", b"10", b"11"]


def test_a_watcher_s_own_word_does_not_bound_its_queue(world: World) -> None:
    broker = world.connect()
    watch = topology.watch_queue("coordinator", uuid.uuid4().hex)
    broker.declare([replace(watch, arguments={"x-max-length": 10**9})])
    size = 4 * 1024**2
    fits = topology.WATCH_MAX_BYTES // size
    for number in range(fits + 2):
        broker.publish(event(number.to_bytes(1, "big") + bytes(size - 1))).result(SECONDS)
    inbox = world.receive(broker, watch.name)
    assert [body[0] for body in inbox.bodies(fits)] == list(range(2, fits + 2))


def test_a_watch_queue_goes_with_its_connection(world: World) -> None:
    watcher, broker = world.connect(), world.connect()
    watcher.declare([topology.watch_queue("coordinator", uuid.uuid4().hex)])
    broker.publish(event(b"1")).result(SECONDS)
    watcher.close()
    with pytest.raises(Unroutable):
        broker.publish(event(b"2")).result(SECONDS)


def test_a_watch_queue_belongs_to_one_connection(world: World) -> None:
    watcher, other = world.connect(), world.connect()
    watch = topology.watch_queue("coordinator", uuid.uuid4().hex)
    watcher.declare([watch])
    with pytest.raises((AccessRefused, ConnectionLost), match=watch.name.replace(".", r"\.")):
        other.declare([watch], timeout=1.0)


def test_a_watcher_goes_on_after_a_cut(world: World) -> None:
    broker = world.connect()
    watch = topology.watch_queue("coordinator", uuid.uuid4().hex)
    broker.declare([watch])
    inbox = world.receive(broker, watch.name)
    world.wait_until(lambda: inbox.subscription.error is None)
    epoch = broker.epoch
    world.cut()
    world.wait_until(lambda: broker.epoch > epoch and inbox.subscription.error is None)
    broker.publish(event(b"after")).result(SECONDS)
    assert inbox.bodies(1) == [b"after"]


def test_a_queue_with_other_arguments_is_refused(world: World) -> None:
    broker, queue = world.connect(), queue_of_its_own()
    broker.declare([queue])
    with pytest.raises(AccessRefused, match=queue.name.replace(".", r"\.")):
        broker.declare([replace(queue, arguments={**queue.arguments, "x-delivery-limit": 3})])
    assert broker.publish(to(queue)).result(SECONDS) is None


def test_only_an_empty_queue_is_deleted(world: World) -> None:
    broker, full, empty = world.connect(), queue_of_its_own(), queue_of_its_own()
    broker.declare([full, empty])
    broker.publish(to(full, b"kept")).result(SECONDS)
    broker.delete(full.name)
    broker.delete(empty.name)
    # Not probed by a message: it might come before the deletion, and the queue would no longer be empty.
    other = replace(empty, arguments={**empty.arguments, "x-max-length": 7})

    def is_gone() -> bool:
        try:
            broker.declare([other])
        except AccessRefused:
            return False
        return True

    world.wait_until(is_gone)
    assert world.receive(broker, full.name).bodies(1) == [b"kept"]


def test_a_deleted_queue_is_not_declared_again(world: World) -> None:
    broker, queue = world.connect(), queue_of_its_own()
    broker.declare([queue])
    broker.delete(queue.name)
    epoch = broker.epoch
    world.cut()
    world.wait_until(lambda: broker.epoch > epoch)
    with pytest.raises(Unroutable):
        broker.publish(to(queue)).result(SECONDS)


def test_close_flushes_what_was_published(world: World) -> None:
    broker, other, queue = world.connect(), world.connect(), queue_of_its_own()
    other.declare([queue])
    futures = [broker.publish(to(queue, str(number).encode())) for number in range(300)]
    broker.close()
    assert [future.exception(0) for future in futures] == [None] * 300
    assert world.receive(other, queue.name).bodies(300) == [str(number).encode() for number in range(300)]


def test_a_closed_broker(world: World) -> None:
    broker, queue = world.connect(), queue_of_its_own()
    broker.declare([queue])
    broker.close()
    broker.close()
    with pytest.raises(ConnectionLost, match="closed"):
        broker.publish(to(queue)).result(0)
    with pytest.raises(ConnectionLost, match="closed"):
        broker.declare([queue])
    with pytest.raises(ConnectionLost, match="closed"):
        broker.consume(queue.name, lambda delivery: delivery.ack())


def test_a_handler_that_runs_at_close_can_finish(world: World) -> None:
    broker, other = world.connect(), world.connect()
    queue, answers = queue_of_its_own(), queue_of_its_own()
    other.declare([queue, answers])
    running, go_on = threading.Event(), threading.Event()

    def handler(delivery: Delivery) -> None:
        running.set()
        assert go_on.wait(SECONDS)
        broker.publish(to(answers, b"answer"))
        delivery.ack()

    broker.consume(queue.name, handler)
    other.publish(to(queue, b"question")).result(SECONDS)
    assert running.wait(SECONDS)
    closing = threading.Thread(target=broker.close)
    closing.start()
    go_on.set()
    closing.join(SECONDS)
    assert not closing.is_alive()
    assert world.receive(other, answers.name).bodies(1) == [b"answer"]
    other.publish(to(queue, b"last")).result(SECONDS)
    assert world.receive(other, queue.name).bodies(1) == [b"last"]
