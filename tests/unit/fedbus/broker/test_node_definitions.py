"""What a broker loads at start, and where a server is looked for."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest

from fedbus import codec, topology
from fedbus.broker.base import MAX_MESSAGE_BYTES
from fedbus.broker.node.definitions import definitions, password_hash
from fedbus.broker.node.server import cache_folder, find_server
from fedbus.errors import ConfigError
from places import ROOT

USERS = {"coordinator": "coordinator", "bank": "party", "client": "client"}
PASSWORDS = {"coordinator": "one", "bank": "two", "client": "three"}


def test_password_hash_is_the_example_of_rabbitmq_s_guide() -> None:
    assert password_hash("test12", bytes.fromhex("908DC60A")) == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"


def test_password_hashes_are_salted_and_no_password_is_in_the_definitions() -> None:
    first, second = (definitions(USERS, PASSWORDS) for _ in range(2))
    assert first["users"] != second["users"]
    raw = base64.b64decode(first["users"][1]["password_hash"])
    assert raw[4:] == hashlib.sha256(raw[:4] + b"two").digest()
    assert "two" not in str(first)


def test_definitions_hold_the_topology_that_exists_from_the_start() -> None:
    made = definitions(USERS, PASSWORDS)
    assert {(exchange["name"], exchange["type"]) for exchange in made["exchanges"]} == {
        (name, "topic") for name in topology.EXCHANGES
    }
    assert {queue["name"] for queue in made["queues"]} == {
        "fedbus.jobs.requests",
        "fedbus.dead",
        "fedbus.party.bank.control",
    }
    assert all(queue["arguments"]["x-queue-type"] == "quorum" for queue in made["queues"])
    bindings = {(binding["source"], binding["routing_key"], binding["destination"]) for binding in made["bindings"]}
    assert ("fedbus.control", "bank.*.*", "fedbus.party.bank.control") in bindings
    assert ("fedbus.dead", "#", "fedbus.dead") in bindings


def test_a_party_configures_nothing_and_writes_under_its_own_name_only() -> None:
    made = definitions(USERS, PASSWORDS)
    bank = next(entry for entry in made["permissions"] if entry["user"] == "bank")
    assert bank["configure"] == "^$"
    assert {(entry["user"], entry["exchange"], entry["write"]) for entry in made["topic_permissions"]} == {
        ("bank", "fedbus.data", r"^bank\..*$"),
        ("bank", "fedbus.events", r"^bank\..*$"),
        ("client", "fedbus.replies", "^$"),
    }


def test_a_client_hears_its_own_replies_only() -> None:
    made = definitions(USERS, PASSWORDS)
    ((pattern, exchange),) = [(e["read"], e["exchange"]) for e in made["topic_permissions"] if e["user"] == "client"]
    own = [key for name, key in topology.watch_queue("client", "t").bindings if name == exchange]
    assert all(re.search(pattern, key) for key in own)
    assert not any(re.search(pattern, key) for key in ("#", "*.j.job_list", topology.reply_key("client2", "j", "x")))


def test_nobody_reads_another_participants_queue() -> None:
    made = definitions(USERS, PASSWORDS)
    reads = {entry["user"]: re.compile(entry["read"]) for entry in made["permissions"]}
    queues = [topology.control_queue("bank"), topology.job_queue("bank", "j"), topology.job_queue("coordinator", "j")]
    names = [queue.name for queue in (*queues, topology.watch_queue("client", "t"), topology.jobs_queue())]
    readable = {user: [name for name in names if pattern.search(name)] for user, pattern in reads.items()}
    assert readable == {"coordinator": [names[2], names[4]], "bank": names[:2], "client": [names[3]]}


def test_what_the_parties_queues_give_up_is_dead_lettered_by_a_policy() -> None:
    found = {p["pattern"]: p["definition"] for p in definitions(USERS, PASSWORDS)["policies"]}
    pattern = topology.PARTY_QUEUES
    assert found[pattern] == {"dead-letter-exchange": topology.DEAD}
    for queue in (topology.control_queue("bank"), topology.job_queue("bank", "j")):
        assert re.search(pattern, queue.name)
        # As an argument it would need the right to read the queue, which the coordinator has not.
        assert "x-dead-letter-exchange" not in queue.arguments


def test_every_queue_is_bounded_by_bytes() -> None:
    made = definitions(USERS, PASSWORDS)
    queues = [*made["queues"], {"name": "job", "arguments": topology.job_queue("bank", "j").arguments}]
    assert all(0 < queue["arguments"]["x-max-length-bytes"] <= 2 * 1024**3 for queue in queues)
    (watched,) = [p for p in made["policies"] if re.search(p["pattern"], topology.watch_queue("client", "t").name)]
    assert {"max-length", "max-length-bytes", "expires"} <= watched["definition"].keys()


def test_the_broker_of_compose_takes_no_longer_messages_than_fedbus_sends() -> None:
    file = ROOT / "ops/rabbitmq/rabbitmq.conf"
    assert f"max_message_size = {MAX_MESSAGE_BYTES}\n" in file.read_text("utf-8")
    assert MAX_MESSAGE_BYTES > codec.MAX_BODY_BYTES


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(ValueError, match="no such role: admin"):
        definitions({"eve": "admin"}, {"eve": "x"})


def test_the_environment_chooses_the_server(tmp_path: Path) -> None:
    server = tmp_path / "usr/lib/rabbitmq/bin/rabbitmq-server"
    server.parent.mkdir(parents=True)
    server.write_text("#!/bin/sh\n")
    with pytest.raises(ConfigError, match="FEDBUS_RABBITMQ"):
        find_server({"FEDBUS_RABBITMQ": str(tmp_path)})
    server.chmod(0o755)
    assert find_server({"FEDBUS_RABBITMQ": str(tmp_path)}) == server
    assert find_server({"FEDBUS_RABBITMQ": str(server)}) == server
    assert find_server({"FEDBUS_RABBITMQ": "none"}) is None


def test_the_cache_folder_follows_the_environment() -> None:
    assert cache_folder({"FEDBUS_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}) == Path("/a")
    assert cache_folder({"XDG_CACHE_HOME": "/b", "HOME": "/c"}) == Path("/b/fedbus")
    assert cache_folder({"HOME": "/c"}) == Path("/c/.cache/fedbus")
