"""Connections to the node of this test run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from fedbus.broker.amqp import AmqpBroker
from fedbus.broker.node import Node


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
