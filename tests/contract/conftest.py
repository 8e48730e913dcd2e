"""The brokers that the contract suite runs against, and what it does to them from outside."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

from fedbus.broker.base import Broker, Delivery, Subscription
from fedbus.broker.memory.broker import MemoryHub
from fedbus.broker.node.node import Node
from fedbus.broker.rabbitmq.broker import AmqpBroker

SECONDS = 20.0


class Inbox:
    """A handler that keeps what it receives for the test to look at."""

    def __init__(self) -> None:
        self.subscription: Subscription
        self._received: queue.SimpleQueue[Delivery] = queue.SimpleQueue()

    def __call__(self, delivery: Delivery) -> None:
        self._received.put(delivery)

    def take(self) -> Delivery:
        """The next delivery, whose settling is up to the test."""
        return self._received.get(timeout=SECONDS)

    def bodies(self, count: int) -> list[bytes]:
        """The next bodies; acknowledged."""
        bodies = []
        for _ in range(count):
            delivery = self.take()
            bodies.append(delivery.body)
            delivery.ack()
        return bodies

    def find(self, message_id: str) -> Delivery:
        """The first delivery of that id; what comes before is acknowledged."""
        while (delivery := self.take()).message_id != message_id:
            delivery.ack()
        delivery.ack()
        return delivery


class World:
    """One kind of broker."""

    def __init__(self) -> None:
        self._brokers: list[Broker] = []

    def connect(self, user: str = "coordinator") -> Broker:
        """A connection, closed after the test. What the broker does not take is not tried again."""
        broker = self._connect(user)
        self._brokers.append(broker)
        return broker

    def receive(self, broker: Broker, name: str, prefetch: int = 64) -> Inbox:
        """Subscribe an inbox to a queue."""
        inbox = Inbox()
        inbox.subscription = broker.consume(name, inbox, prefetch)
        return inbox

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for a state that nothing announces."""
        end = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.01)

    def close(self) -> None:
        """End what the test left open."""
        for broker in self._brokers:
            broker.close()

    def cut(self) -> None:
        """Drop every connection."""
        raise NotImplementedError

    def drop(self, name: str) -> None:
        """Delete a queue, as an administrator might."""
        raise NotImplementedError

    def _connect(self, user: str) -> Broker:
        raise NotImplementedError


class MemoryWorld(World):
    """The in-process broker."""

    def __init__(self) -> None:
        super().__init__()
        self._hub = MemoryHub()

    def cut(self) -> None:
        self._hub.cut()

    def drop(self, name: str) -> None:
        self._hub.drop(name)

    def _connect(self, user: str) -> Broker:
        return self._hub.connect(user)


class RabbitWorld(World):
    """RabbitMQ on the node of this test run."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._node = node

    def cut(self) -> None:
        self._node.rabbitmqctl("close_all_connections", "cut by a test")

    def drop(self, name: str) -> None:
        self._node.rabbitmqctl("delete_queue", name)

    def _connect(self, user: str) -> Broker:
        return AmqpBroker(self._node.url(user), nack_seconds=0.0)


class Finder(Protocol):
    """pytest's request, as far as it is used here."""

    param: str

    def getfixturevalue(self, name: str) -> Node: ...


@pytest.fixture(params=["memory", "rabbitmq"])
def world(request: Finder) -> Iterator[World]:
    """Each broker in turn."""
    made = MemoryWorld() if request.param == "memory" else RabbitWorld(request.getfixturevalue("node"))
    yield made
    made.close()
