"""Properties that a publisher made up arrive, or are dead letters once; no connection ends over them."""

from __future__ import annotations

import queue
import random
import struct
import uuid
from collections.abc import Callable

import pytest
from hostile import FIELDS, RawPublisher, field, long, properties, short

from fedbus import topology
from fedbus.broker.base import KEPT_BYTES, MAX_MESSAGE_BYTES, REASON_HEADER, SIZE_HEADER, Delivery, Outgoing
from fedbus.broker.node.node import Node
from fedbus.broker.rabbitmq.broker import AmqpBroker
from fedbus.topology import Queue

SECONDS = 30.0
# The broker takes half a second to close a connection over what it cannot read itself; the unit tests change far more.
CHANGES = 12
NO_NUMBERS = {"float", "infinity", "double", "not a number"}
Connect = Callable[..., AmqpBroker]


def job_queue() -> Queue:
    """A job queue that no other test uses."""
    return topology.job_queue("coordinator", uuid.uuid4().hex)


def to(target: Queue, body: bytes = b"", message_id: str = "") -> Outgoing:
    """A message for a job queue."""
    ((exchange, pattern),) = target.bindings
    return Outgoing(exchange, pattern.replace("*", "coordinator", 1), body, message_id or uuid.uuid4().hex)


def receive(broker: AmqpBroker, name: str) -> queue.SimpleQueue[Delivery]:
    """What arrives in a queue."""
    received: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
    broker.consume(name, received.put)
    return received


def find(letters: queue.SimpleQueue[Delivery], message_id: str) -> Delivery:
    """The dead letter of this id."""
    while (letter := letters.get(timeout=SECONDS)).message_id != message_id:
        letter.ack()
    letter.ack()
    return letter


@pytest.fixture
def sender(node: Node) -> RawPublisher:
    """Who publishes what he likes."""
    return RawPublisher(node.url("coordinator"))


def test_headers_of_every_type_arrive_and_the_connection_stays(connect: Connect, sender: RawPublisher) -> None:
    broker, target = connect(), job_queue()
    broker.declare([target])
    received = receive(broker, target.name)
    epoch = broker.epoch
    with sender:
        taken = []
        for name, (kind, value) in FIELDS.items():
            table = field(kind, value) + field(b"S", long(b"last"), b"after")
            encoded = properties(
                headers=long(table),
                message_id=short(name.encode()),
                timestamp=struct.pack(">Q", 2**62),
                user_id=short(b"coordinator"),
            )
            if sender.publish(to(target, name.encode()), encoded):
                taken.append(name)
        sound = to(target, b"sound")
        broker.publish(sound).result(SECONDS)
    # Erlang reads no such number: the broker itself ends the publisher's connection.
    assert set(FIELDS) - set(taken) == NO_NUMBERS
    # Given back once: the broker then writes the properties anew, with a count of its own.
    for _ in (*taken, sound):
        received.get(timeout=SECONDS).requeue()
    again = {delivery.body.decode(): delivery for delivery in (received.get(timeout=SECONDS) for _ in (*taken, sound))}
    assert again.pop("sound").message_id == sound.message_id
    assert again.keys() == set(taken)
    for name, delivery in again.items():
        assert (delivery.message_id, delivery.user, delivery.headers["after"]) == (name, "coordinator", "last")
    assert broker.epoch == epoch


def test_changed_bits_of_properties_end_no_connection(connect: Connect, sender: RawPublisher) -> None:
    broker, target = connect(), job_queue()
    broker.declare([target, topology.dead_queue()])
    received = receive(broker, target.name)
    epoch, generator = broker.epoch, random.Random(7)
    table = b"".join(field(*each) for name, each in FIELDS.items() if name not in NO_NUMBERS and "nested" not in name)
    whole = properties(
        content_type=short(b"application/msgpack"),
        headers=long(table),
        delivery_mode=b"\x02",
        correlation_id=short(b"7"),
        message_id=short(b"m" * 32),
        timestamp=struct.pack(">Q", 2**62),
        type=short(b"t"),
    )
    taken = 0
    with sender:
        for _ in range(CHANGES):
            changed = bytearray(whole)
            changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
            taken += sender.publish(to(target, b"changed"), bytes(changed))
        broker.publish(to(target, b"sound")).result(SECONDS)
    count = 0
    while (delivery := received.get(timeout=SECONDS)).body != b"sound":
        assert isinstance(delivery.headers, dict)
        delivery.dead_letter("of no use")
        count += 1
    delivery.ack()
    assert count == taken > 0
    assert broker.epoch == epoch
    assert broker.publish(to(target)).result(SECONDS) is None


def test_names_that_are_no_text_can_be_dead_lettered(connect: Connect, sender: RawPublisher) -> None:
    broker, target = connect(), job_queue()
    dead_only = Queue(target.name, ((topology.DEAD, "x.#"),), target.arguments)
    broker.declare([dead_only])
    received = receive(broker, target.name)
    message = Outgoing(topology.DEAD, "x." + "é" * 126, b"body", "")
    with sender:
        assert sender.publish(message, properties(message_id=short(b"\xff" * 255), correlation_id=short(b"\xfe")))
    delivery = received.get(timeout=SECONDS)
    assert delivery.message_id == "\\xff" * 63 + "\\xf"
    assert delivery.user is None
    delivery.dead_letter("unknown")
    # The queue of this test takes what goes to the dead letters, too.
    copy = received.get(timeout=SECONDS)
    assert (copy.message_id, copy.headers[REASON_HEADER]) == (delivery.message_id, "unknown")
    copy.ack()


def test_a_message_that_is_far_too_long_is_dead_lettered_once_with_its_size(
    node: Node, connect: Connect, sender: RawPublisher
) -> None:
    node.rabbitmqctl("eval", "application:set_env(rabbit, max_message_size, 134217728).")
    try:
        broker, target = connect(), job_queue()
        broker.declare([target, topology.dead_queue()])
        size = 20 * 1024**2
        handled, letters = receive(broker, target.name), receive(broker, topology.DEAD)
        epoch = broker.epoch
        with sender:
            for number, long_one in enumerate((size, MAX_MESSAGE_BYTES + 1, MAX_MESSAGE_BYTES)):
                body = number.to_bytes(1, "big") + bytes(long_one - 1)
                encoded = properties(
                    delivery_mode=b"\x02",
                    message_id=short(f"{target.name} {number}".encode()),
                    user_id=short(b"coordinator"),
                )
                assert sender.publish(to(target, body), encoded)
        for number, length in enumerate((size, MAX_MESSAGE_BYTES + 1)):
            letter = find(letters, f"{target.name} {number}")
            assert letter.body == number.to_bytes(1, "big") + bytes(KEPT_BYTES - 1)
            assert letter.headers[SIZE_HEADER] == str(length)
            assert f"{length} bytes is over the limit" in letter.headers[REASON_HEADER]
        fits = handled.get(timeout=SECONDS)
        assert (fits.body[:1], fits.size, len(fits.body)) == (b"\x02", MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES)
        fits.dead_letter("not read")
        letter = find(letters, f"{target.name} 2")
        assert (len(letter.body), letter.headers[SIZE_HEADER]) == (KEPT_BYTES, str(MAX_MESSAGE_BYTES))
        broker.publish(to(target, b"next")).result(SECONDS)
        delivery = handled.get(timeout=SECONDS)
        assert (delivery.body, delivery.redelivered) == (b"next", False)
        assert broker.epoch == epoch
    finally:
        node.rabbitmqctl("eval", f"application:set_env(rabbit, max_message_size, {MAX_MESSAGE_BYTES}).")
