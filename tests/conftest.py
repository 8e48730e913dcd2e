"""What all tests share: one private RabbitMQ node for the whole run, started when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fedbus.broker.node.node import Node
from fedbus.errors import BrokerError

USERS = {
    "coordinator": "coordinator",
    **dict.fromkeys(("bob", "alice", "carol", "shop", "bank", "credit"), "party"),
    "client": "client",
}


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    """A running node with the users of all tests; a machine without RabbitMQ fails the test, it skips nothing."""
    node = Node(users=USERS)
    try:
        node.start()
    except BrokerError as error:
        node.stop()
        pytest.fail(f"{error}", pytrace=False)
    yield node
    node.stop()
