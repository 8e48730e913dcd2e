"""RabbitMQ loads these definitions when it starts: the topology, the users, and what each user may do.

The same definitions serve the private node of tests and demo and a broker that an administrator runs; passwords appear
in them only as salted hashes.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from fedbus import topology
from fedbus.topology import Queue

VHOST = "/"
_SALT_BYTES = 4


def definitions(users: Mapping[str, str], passwords: Mapping[str, str]) -> dict[str, Any]:
    """Make RabbitMQ's definitions:
    exchanges, the queues that exist from the start, bindings, policies, users and permissions.

    Args:
        users: role (coordinator, party or client) by name. A party's control queue is part of the definitions, so that
            what the coordinator asks is kept from the first moment, before the party has ever connected.
        passwords: by name, one for each user.

    Raises:
        ValueError: an unknown role.
    """
    parties = [user for user, role in users.items() if role == "party"]
    queues = [topology.jobs_queue(), topology.dead_queue(), *map(topology.control_queue, parties)]
    return {
        "vhosts": [{"name": VHOST}],
        "exchanges": [_exchange(name) for name in topology.EXCHANGES],
        "queues": [_queue(queue) for queue in queues],
        "bindings": list(_bindings(queues)),
        "policies": [{"vhost": VHOST, "priority": 0, **policy} for policy in topology.policies()],
        **user_definitions(users, passwords),
    }


def user_definitions(users: Mapping[str, str], passwords: Mapping[str, str]) -> dict[str, Any]:
    """Make the part of the definitions that says who may do what."""
    return {
        "users": [
            {
                "name": user,
                "password_hash": password_hash(passwords[user]),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": [],
            }
            for user in users
        ],
        "permissions": [
            {"user": user, "vhost": VHOST, **topology.permissions(user, role)} for user, role in users.items()
        ],
        "topic_permissions": [
            {"user": user, "vhost": VHOST, **permission}
            for user, role in users.items()
            for permission in topology.topic_permissions(user, role)
        ],
    }


def password_hash(password: str, salt: bytes | None = None) -> str:
    """Hash a password as RabbitMQ does (its guide "Credentials and Passwords"): base64 of salt and salted SHA-256.

    Args:
        salt: 4 bytes; random where absent.
    """
    salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode("ascii")


def _exchange(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "vhost": VHOST,
        "type": "topic",
        "durable": True,
        "auto_delete": False,
        "internal": False,
        "arguments": {},
    }


def _queue(queue: Queue) -> dict[str, Any]:
    return {"name": queue.name, "vhost": VHOST, "durable": True, "auto_delete": False, "arguments": queue.arguments}


def _bindings(queues: Iterable[Queue]) -> Iterable[dict[str, Any]]:
    for queue in queues:
        for exchange, key in queue.bindings:
            yield {
                "source": exchange,
                "vhost": VHOST,
                "destination": queue.name,
                "destination_type": "queue",
                "routing_key": key,
                "arguments": {},
            }
