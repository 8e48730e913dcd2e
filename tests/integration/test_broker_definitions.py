"""Users made by `fedbus broker-definitions` on a real RabbitMQ, and what one is told who is the wrong user."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker

from fedbus import topology
from fedbus.broker.node.node import Node
from fedbus.cli.introductions import KeyFiles
from fedbus.identity import Identity, Role
from fedbus.service.process import script
from fedbus.statuses import Status
from rows import synthetic


def key_files(folder: Path, name: str, role: Role) -> KeyFiles:
    """An identity of its own, and a roster that has it in a role."""
    files = KeyFiles(folder / f"{name}.key", folder / "roster.toml")
    line = Identity.create(files.identity).introduction(name, role).line()
    files.roster.write_text(f"[members]\n{line}\n")
    return files


def fedbus(*arguments: str, command: str = "fedbus", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*script(command), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def connect(file: Path) -> Any:
    return pika.BlockingConnection(pika.URLParameters(file.read_text().strip()))


@pytest.fixture(scope="module")
def urls(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The URL files of users that were imported into the running node."""
    folder = tmp_path_factory.mktemp("administrator")
    users = ("--coordinator", "lead", "--party", "north", "--party", "south", "--client", "olga")
    made = fedbus("broker-definitions", *users, "--urls", str(folder), "--address", f"amqp://127.0.0.1:{node.port}")
    assert made.returncode == 0, made.stderr
    definitions = folder / "definitions.json"
    definitions.write_text(made.stdout)
    node.rabbitmqctl("import_definitions", str(definitions))
    return folder


def test_a_party_reads_its_own_queue_and_no_other_s(urls: Path) -> None:
    connection = connect(urls / "north.url")
    connection.channel().basic_consume(topology.control_queue("north").name, lambda *_: None)
    for queue in (topology.control_queue("south").name, topology.JOBS_QUEUE, topology.DEAD):
        with pytest.raises(ChannelClosedByBroker) as refused:
            connection.channel().basic_consume(queue, lambda *_: None)
        assert refused.value.reply_code == 403
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_publish(topology.EVENTS, "north.j.state", b"x")
    with pytest.raises(ChannelClosedByBroker) as refused:
        channel.basic_publish(topology.EVENTS, "south.j.state", b"x")
    assert refused.value.reply_code == 403
    connection.close()


def test_the_coordinator_declares_what_a_job_needs_beside_what_was_imported(urls: Path) -> None:
    connection = connect(urls / "lead.url")
    queues = [topology.jobs_queue(), topology.dead_queue(), topology.control_queue("north")]
    for queue in (*queues, topology.job_queue("north", "j")):
        channel = connection.channel()
        # Equal arguments are a condition for declaring what is there.
        channel.queue_declare(queue.name, durable=True, arguments=queue.arguments)
        for exchange, key in queue.bindings:
            channel.queue_bind(queue.name, exchange, key)
    connection.channel().queue_delete(topology.job_queue("north", "j").name)
    connection.close()


def test_a_party_s_user_is_told_who_may_cancel(urls: Path, tmp_path: Path) -> None:
    # A client by its keys, whose user of the broker is a party's.
    own = key_files(tmp_path, "north", Role.CLIENT).environment()
    ended = fedbus("cancel", "test-1234567890abcdef", FEDBUS_AMQP_URL_FILE=str(urls / "north.url"), **own)
    assert ended.returncode == Status.BROKER
    assert "user north may not watch jobs" in ended.stderr
    assert "submitted, watched and cancelled as a client's user" in ended.stderr.replace("\n", " ")


@pytest.mark.parametrize("user", ["south", "olga"])
def test_a_party_that_connects_as_somebody_else_ends_with_what_is_wrong(urls: Path, tmp_path: Path, user: str) -> None:
    synthetic(tmp_path)
    file = tmp_path / "north.toml"
    file.write_text((tmp_path / "bob.toml").read_text().replace('"bob"', '"north"'))
    given = {
        "FEDBUS_AMQP_URL_FILE": str(urls / f"{user}.url"),
        **key_files(tmp_path, "north", Role.PARTY).environment(),
    }
    ended = fedbus("--config", str(file), command="fedbus-party", **given)
    assert ended.returncode == 2, ended.stderr
    assert f"name: 'north', but the broker's URL, or the certificate in its place, is of user '{user}'" in ended.stderr
    assert "serving" not in ended.stdout
