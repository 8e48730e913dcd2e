"""What must not hold up all the rest: a message over which connections end, a broker that takes nothing for a while."""

from __future__ import annotations

import queue
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

import pika
import pytest

from fedbus import topology
from fedbus.broker import base
from fedbus.broker.base import QUEUE_HEADER, REASON_HEADER, USER_HEADER, Delivery, Outgoing
from fedbus.broker.node.node import Node
from fedbus.broker.rabbitmq import link
from fedbus.broker.rabbitmq.broker import AmqpBroker
from fedbus.broker.rabbitmq.intake import BUFFER
from fedbus.broker.rabbitmq.publisher import MAX_LOSSES
from fedbus.errors import Congested, Nacked
from fedbus.topology import Queue

SECONDS = 30.0
Connect = Callable[..., AmqpBroker]


def job_queue() -> Queue:
    """A job queue that no other test uses."""
    return topology.job_queue("coordinator", uuid.uuid4().hex)


def to(target: Queue, body: bytes = b"") -> Outgoing:
    """A message for a job queue."""
    ((exchange, pattern),) = target.bindings
    return Outgoing(exchange, pattern.replace("*", "coordinator", 1), body, uuid.uuid4().hex)


def receive(broker: AmqpBroker, name: str) -> queue.SimpleQueue[Delivery]:
    """What arrives in a queue."""
    received: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
    broker.consume(name, received.put)
    return received


def test_a_message_with_headers_as_long_as_a_frame_can_be_dead_lettered(node: Node, connect: Connect) -> None:
    broker, target = connect(), job_queue()
    broker.declare([target, topology.dead_queue()])
    message = to(target, b"long")
    sender = pika.BlockingConnection(pika.URLParameters(node.url("coordinator")))
    channel = sender.channel()
    channel.confirm_delivery()
    # Its header fits into a frame of 131,072 bytes; with the reason besides it would not.
    properties = pika.BasicProperties(
        message_id=message.message_id, user_id="coordinator", headers={"x": "y" * (131_072 - 150)}
    )
    channel.basic_publish(message.exchange, message.routing_key, message.body, properties)
    sender.close()
    receive(broker, target.name).get(timeout=SECONDS).dead_letter("unknown version 9" * 10)
    letters = receive(broker, topology.DEAD)
    while (letter := letters.get(timeout=SECONDS)).message_id != message.message_id:
        letter.ack()
    letter.ack()
    assert letter.body == b"long"
    assert set(letter.headers) == {REASON_HEADER, QUEUE_HEADER, USER_HEADER}


def test_a_message_over_which_connections_end_is_given_up_and_the_others_arrive(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, target = connect(), job_queue()
    broker.declare([target])
    # What checks did not foresee: a header too long for a frame, to which RabbitMQ answers by closing the connection.
    monkeypatch.setattr(base, "MAX_HEADERS_BYTES", 1_000_000)
    monkeypatch.setattr(link, "delay", lambda _: 0.05)
    poison = replace(to(target), headers={"x": "y" * 200_000})
    messages = [to(target, str(number).encode()) for number in range(100)]
    before = [broker.publish(message) for message in messages[:50]]
    given_up = broker.publish(poison)
    after = [broker.publish(message) for message in messages[50:]]
    with pytest.raises(Nacked, match=rf"{poison.message_id}.*lost {MAX_LOSSES} times"):
        given_up.result(SECONDS)
    assert [future.exception(SECONDS) for future in (*before, *after)] == [None] * 100
    received, arrived = receive(broker, target.name), set[bytes]()
    while len(arrived) < 100:
        delivery = received.get(timeout=SECONDS)
        delivery.ack()
        arrived.add(delivery.body)
    assert broker.publish(to(target)).result(SECONDS) is None


def test_a_watcher_whose_queue_refuses_events_holds_up_nobody(connect: Connect) -> None:
    broker, client, target = connect(), connect("client"), job_queue()
    broker.declare([target])
    watch = topology.watch_queue("client", uuid.uuid4().hex)
    client.declare([replace(watch, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})])
    events = [Outgoing(topology.EVENTS, "coordinator.j.notice", b"", str(n), mandatory=False) for n in range(900)]
    refused = [future.exception(SECONDS) for future in broker.publish_all(events)]
    # Not tried again for a minute, in which they would take the room of messages that have to arrive.
    assert {type(error) for error in refused} == {type(None), Nacked}
    assert broker.publish(to(target), wait=False).result(SECONDS) is None


def test_a_full_queue_takes_no_room_from_messages_for_others(connect: Connect) -> None:
    broker, full, other = connect(), job_queue(), job_queue()
    broker.declare([replace(full, arguments={**full.arguments, "x-max-length": 1}), other])
    # As a party can bring about that reads its queue no more, and asks for messages again and again.
    while not ((future := broker.publish(to(full), wait=False)).done() and isinstance(future.exception(), Congested)):
        pass
    end = time.monotonic() + SECONDS
    while isinstance(error := broker.publish(to(other), wait=False).exception(SECONDS), Congested):
        assert time.monotonic() < end
    assert error is None
    broker.close(0)


def test_a_handler_does_not_wait_for_room_that_there_is_not(node: Node, connect: Connect) -> None:
    broker, target = connect(), job_queue()
    broker.declare([target, topology.dead_queue()])
    for body in (b"dead", b"last"):
        broker.publish(to(target, body)).result(SECONDS)
    node.rabbitmqctl("set_vm_memory_high_watermark", "0.00001")
    try:
        held: list[Future[None]] = []
        while not (future := broker.publish(to(target, b"held"), wait=False)).done() or future.exception() is None:
            held.append(future)
        with pytest.raises(Congested, match="wait for RabbitMQ"):
            future.result(0)
        assert len(held) >= BUFFER
        seen: queue.SimpleQueue[bytes] = queue.SimpleQueue()

        def handler(delivery: Delivery) -> None:
            # Dead letters do not wait for room either.
            delivery.dead_letter("dead") if delivery.body == b"dead" else delivery.ack()
            seen.put(delivery.body)

        broker.consume(target.name, handler)
        assert [seen.get(timeout=SECONDS) for _ in range(2)] == [b"dead", b"last"]
    finally:
        node.rabbitmqctl("set_vm_memory_high_watermark", "0.6")
    assert [future.result(SECONDS) for future in held] == [None] * len(held)
    assert broker.publish(to(target), wait=False).result(SECONDS) is None
