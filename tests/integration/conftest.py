"""Connections to the node of this test run, and federations of processes on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pika
import pytest

from fedbus import topology
from fedbus.broker.node.node import Node
from fedbus.broker.rabbitmq.broker import AmqpBroker
from fedbus.client import Client
from federation import Federation
from keyring import credentials
from processes import Processes
from rows import PARTIES, Rows


@pytest.fixture
def connect(node: Node) -> Iterator[Callable[..., AmqpBroker]]:
    """Connections by user name or URL, closed after the test."""
    made: list[AmqpBroker] = []

    def one(login: str = "coordinator", **settings: object) -> AmqpBroker:
        url = login if "://" in login else node.url(login)
        made.append(AmqpBroker(url, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield one
    for broker in made:
        broker.close()


@pytest.fixture
def client(node: Node) -> Iterator[Client]:
    """A client of the session's node."""
    broker = AmqpBroker(node.url("client"))
    with Client(broker, credentials=credentials("client", *PARTIES)) as client:
        yield client
    broker.close()


@pytest.fixture
def processes(node: Node) -> Iterator[Callable[..., Processes]]:
    """The processes of a federation, to be started on this node or another; none outlives the test."""
    made: list[Processes] = []

    def make(federation: Federation | Rows, on: Node = node) -> Processes:
        federation.write_job()
        for party in federation.spec().parties:
            _empty(topology.control_queue(party).name, on.url(party))
        _empty(topology.JOBS_QUEUE, on.url("coordinator"))
        made.append(Processes(federation, on))
        return made[-1]

    yield make
    for each in made:
        each.kill_all()


def _empty(queue: str, url: str) -> None:
    """Drop what processes of an earlier test were killed over before they had acknowledged it."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    connection.channel().queue_purge(queue)
    connection.close()
