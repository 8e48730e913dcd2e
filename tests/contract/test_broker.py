"""What fedbus relies on in a message broker: the same suite on the in-process one and on RabbitMQ."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fedbus import topology
from fedbus.broker.base import MAX_MESSAGE_BYTES, Delivery, Outgoing
from fedbus.errors import AccessRefused, Unroutable
from fedbus.topology import Queue

if TYPE_CHECKING:
    from tests.contract.conftest import World

SECONDS = 20.0


def queue_of_its_own() -> Queue:
    """A job queue that no other test uses."""
    return topology.job_queue("coordinator", uuid.uuid4().hex)


def to(queue: Queue, body: bytes = b"", message_id: str | None = None, sender: str = "coordinator") -> Outgoing:
    """A message for a job queue."""
    ((exchange, pattern),) = queue.bindings
    return Outgoing(exchange, pattern.replace("*", sender, 1), body, message_id or uuid.uuid4().hex)


def confirmed(futures: list[Future[None]]) -> None:
    """Wait for the confirms."""
    for future in futures:
        future.result(SECONDS)


def test_a_message_arrives_as_it_was_published(world: World) -> None:
    broker, queue = world.connect(), queue_of_its_own()
    broker.declare([queue])
    inbox = world.receive(broker, queue.name)
    body = bytes(range(256)) * 4096
    message = replace(to(queue, body, "m1"), headers={"colour": "blue"})
    assert broker.publish(message).result(SECONDS) is None
    delivery = inbox.take()
    delivery.ack()
    assert (delivery.queue, delivery.exchange, delivery.routing_key) == (queue.name, topology.DATA, message.routing_key)
    assert (delivery.body, delivery.message_id, delivery.user) == (body, "m1", "coordinator")
    assert (delivery.redelivered, dict(delivery.headers)) == (False, {"colour": "blue"})


def test_the_user_is_the_one_who_connected(world: World) -> None:
    coordinator, alice, queue = world.connect(), world.connect("alice"), queue_of_its_own()
    coordinator.declare([queue])
    inbox = world.receive(coordinator, queue.name)
    alice.publish(to(queue, sender="alice")).result(SECONDS)
    assert inbox.take().user == alice.user == "alice"


def test_order_within_a_queue(world: World) -> None:
    broker, queue = world.connect(), queue_of_its_own()
    broker.declare([queue])
    bodies = [str(number).encode() for number in range(300)]
    confirmed([broker.publish(to(queue, body)) for body in bodies])
    assert world.receive(broker, queue.name).bodies(300) == bodies


def test_routing_by_pattern(world: World) -> None:
    broker = world.connect()
    one, every = (topology.watch_queue("coordinator", uuid.uuid4().hex, job=job) for job in ("j1", "*"))
    broker.declare([one, every])
    for key in ("bob.j2.loss", "bob.j1.loss.extra", "bob.j1.loss"):
        broker.publish(Outgoing(topology.EVENTS, key, key.encode(), key, mandatory=False)).result(SECONDS)
    assert world.receive(broker, every.name).bodies(2) == [b"bob.j2.loss", b"bob.j1.loss"]
    assert world.receive(broker, one.name).bodies(1) == [b"bob.j1.loss"]


def test_a_message_that_no_queue_takes(world: World) -> None:
    broker, queue = world.connect(), queue_of_its_own()
    broker.declare([topology.dead_queue()])
    with pytest.raises(Unroutable, match=r"fedbus\.data"):
        broker.publish(to(queue)).result(SECONDS)
    assert broker.publish(replace(to(queue), mandatory=False)).result(SECONDS) is None


def test_a_message_that_is_too_long_is_refused_at_once(world: World) -> None:
    broker, queue = world.connect(), queue_of_its_own()
    with pytest.raises(AccessRefused, match=str(MAX_MESSAGE_BYTES)):
        broker.publish(to(queue, bytes(MAX_MESSAGE_BYTES + 1))).result(0)


def test_requeued_is_delivered_again(world: World) -> None:
    broker, queue = world.connect(), queue_of_its_own()
    broker.declare([queue])
    inbox = world.receive(broker, queue.name)
    broker.publish(to(queue, b"again")).result(SECONDS)
    first = inbox.take()
    first.requeue()
    second = inbox.take()
    second.ack()
    assert (first.redelivered, second.redelivered, second.body) == (False, True, b"again")
    # The end of the first delivery was told already; telling it once more must not reach the second.
    first.ack()


def test_a_handler_that_raises_gets_the_message_again(world: World) -> None:
    broker, queue = world.connect(), queue_of_its_own()
    broker.declare([queue])
    seen: list[bool] = []
    done = threading.Event()

    def handler(delivery: Delivery) -> None:
        seen.append(delivery.redelivered)
        if len(seen) == 1:
            raise LookupError("the store is busy")
        delivery.ack()
        done.set()

    broker.consume(queue.name, handler)
    broker.publish(to(queue)).result(SECONDS)
    assert done.wait(SECONDS)
    assert seen == [False, True]


def test_a_cancelled_subscription_gives_back_what_it_holds(world: World) -> None:
    broker, queue = world.connect(), queue_of_its_own()
    broker.declare([queue])
    cancelled = world.receive(broker, queue.name)
    confirmed([broker.publish(to(queue, body)) for body in (b"1", b"2")])
    held = cancelled.take()
    cancelled.subscription.cancel()
    other = world.receive(broker, queue.name)
    assert [(d.body, d.redelivered) for d in (other.take(), other.take())] == [(b"1", True), (b"2", True)]
    held.ack()


def test_what_was_acknowledged_does_not_come_again(world: World) -> None:
    first, second, queue = world.connect(), world.connect(), queue_of_its_own()
    first.declare([queue])
    inbox = world.receive(first, queue.name)
    confirmed([second.publish(to(queue, str(number).encode())) for number in range(5)])
    deliveries = [inbox.take() for _ in range(5)]
    # Out of order, so that acknowledgements of several at once are told apart from those of one.
    for index in (3, 0, 1, 4):
        deliveries[index].ack()
    first.close()
    inbox = world.receive(second, queue.name)
    second.publish(to(queue, b"last")).result(SECONDS)
    assert inbox.bodies(2) == [b"2", b"last"]


def test_a_connection_that_is_cut(world: World) -> None:
    broker, queue = world.connect(), queue_of_its_own()
    broker.declare([queue])
    inbox = world.receive(broker, queue.name)
    confirmed([broker.publish(to(queue, body)) for body in (b"1", b"2")])
    stale = [inbox.take(), inbox.take()]
    epoch = broker.epoch
    world.cut()
    world.wait_until(lambda: broker.epoch > epoch)
    # Tags start anew on each connection: a stale acknowledgement that got through would take another message.
    stale[0].ack()
    stale[1].dead_letter("stale")
    again = [inbox.take(), inbox.take()]
    assert [(d.body, d.redelivered) for d in again] == [(b"1", True), (b"2", True)]
    again[0].ack()
    again[1].requeue()
    assert inbox.bodies(1) == [b"2"]
    assert broker.epoch == epoch + 1


def test_what_is_published_while_the_connection_is_cut_arrives(world: World) -> None:
    broker, queue = world.connect(), queue_of_its_own()
    broker.declare([queue])
    ids = [f"m{number}" for number in range(400)]
    futures: list[Future[None]] = []
    halfway, cut = threading.Event(), threading.Event()

    def publish() -> None:
        for number, message_id in enumerate(ids):
            futures.append(broker.publish(to(queue, message_id.encode(), message_id)))
            if number == len(ids) // 2:
                halfway.set()
                assert cut.wait(SECONDS)

    thread = threading.Thread(target=publish)
    thread.start()
    assert halfway.wait(SECONDS)
    world.cut()
    cut.set()
    thread.join()
    confirmed(futures)
    inbox, received = world.receive(broker, queue.name), set[str]()
    while received != set(ids):
        delivery = inbox.take()
        assert delivery.body == delivery.message_id.encode()
        received.add(delivery.message_id)
        delivery.ack()


def test_a_queue_that_does_not_exist_yet(world: World) -> None:
    early, late, queue = world.connect(), world.connect(), queue_of_its_own()
    late.declare([topology.dead_queue()])
    inbox = world.receive(early, queue.name)
    world.wait_until(lambda: isinstance(inbox.subscription.error, Unroutable))
    late.declare([queue])
    late.publish(to(queue, b"at last")).result(SECONDS)
    assert inbox.bodies(1) == [b"at last"]
    assert inbox.subscription.error is None


def test_a_lost_queue_is_declared_again_with_the_connection(world: World) -> None:
    broker, queue = world.connect(), queue_of_its_own()
    broker.declare([queue])
    inbox = world.receive(broker, queue.name)
    world.wait_until(lambda: inbox.subscription.error is None)
    world.drop(queue.name)
    with pytest.raises(Unroutable):
        broker.publish(to(queue)).result(SECONDS)
    epoch = broker.epoch
    world.cut()
    world.wait_until(lambda: broker.epoch > epoch and inbox.subscription.error is None)
    broker.publish(to(queue, b"back")).result(SECONDS)
    assert inbox.bodies(1) == [b"back"]


def test_a_single_active_consumer_and_its_successor(world: World) -> None:
    broker, queue = world.connect(), topology.control_queue(f"coordinator.{uuid.uuid4().hex}")
    key = queue.bindings[0][1].replace("*", "x")
    broker.declare([queue])
    first = world.receive(broker, queue.name)
    world.wait_until(lambda: first.subscription.error is None)
    second = world.receive(broker, queue.name)
    world.wait_until(lambda: second.subscription.error is None)
    for body in (b"1", b"2"):
        broker.publish(Outgoing(topology.CONTROL, key, body, body.decode())).result(SECONDS)
    assert first.bodies(2) == [b"1", b"2"]
    first.subscription.cancel()
    broker.publish(Outgoing(topology.CONTROL, key, b"3", "3")).result(SECONDS)
    assert second.bodies(1) == [b"3"]


def test_prefetch_bounds_what_one_consumer_holds(world: World) -> None:
    broker, queue = world.connect(), queue_of_its_own()
    broker.declare([queue])
    narrow = world.receive(broker, queue.name, prefetch=2)
    world.wait_until(lambda: narrow.subscription.error is None)
    confirmed([broker.publish(to(queue, str(number).encode())) for number in range(5)])
    held = [narrow.take(), narrow.take()]
    # All the rest goes to another consumer, so the first one was given no more than two.
    assert world.receive(broker, queue.name).bodies(3) == [b"2", b"3", b"4"]
    assert [delivery.body for delivery in held] == [b"0", b"1"]


def test_a_thousand_messages_through_the_window(world: World) -> None:
    broker, queue = world.connect(), queue_of_its_own()
    broker.declare([queue])
    confirmed([broker.publish(to(queue, str(number).encode())) for number in range(1000)])
    assert world.receive(broker, queue.name).bodies(1000) == [str(number).encode() for number in range(1000)]


def test_publishers_in_four_threads(world: World) -> None:
    broker, queue = world.connect(), queue_of_its_own()
    broker.declare([queue])
    failures: list[BaseException] = []

    def publish(name: str) -> Callable[[], None]:
        def run() -> None:
            futures = [broker.publish(to(queue, f"{name} {number}".encode())) for number in range(250)]
            failures.extend(error for future in futures if (error := future.exception(SECONDS)) is not None)

        return run

    threads = [threading.Thread(target=publish(name)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    bodies = world.receive(broker, queue.name).bodies(1000)
    for name in b"abcd":
        assert [int(body[2:]) for body in bodies if body[0] == name] == list(range(250))


def test_a_quick_handler_sees_messages_in_order_of_arrival(world: World) -> None:
    broker, queue = world.connect(), queue_of_its_own()
    broker.declare([queue])
    seen: list[int] = []
    overtaken, done = threading.Event(), threading.Event()

    def handler(delivery: Delivery) -> None:
        if len(delivery.body) > 1000:
            # Any that overtakes comes at once.
            overtaken.wait(0.2)
        else:
            overtaken.set()
        seen.append(int(delivery.message_id))
        delivery.ack()
        if len(seen) == 6:
            done.set()

    bodies = [bytes(100_000), bytes(100_000), b"short", b"short", bytes(100_000), b"short"]
    messages = [to(queue, body, str(number)) for number, body in enumerate(bodies)]
    confirmed(broker.publish_all(messages))
    broker.consume(queue.name, handler, quick=True)
    assert done.wait(SECONDS)
    assert seen == list(range(6))
    handed: Future[bytes] = Future()
    again = queue_of_its_own()
    broker.declare([again])
    broker.consume(again.name, lambda d: d.hand_over(lambda second: handed.set_result(second.body)), quick=True)
    broker.publish(to(again, b"resend"))
    assert handed.result(SECONDS) == b"resend"
