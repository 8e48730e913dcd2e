"""The private RabbitMQ node: what it declares, what it lets users do, and that it goes with its owner."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from fedbus import topology
from fedbus.broker.node.node import Node
from fedbus.errors import BrokerError

LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
ERL = "usr/lib/erlang/bin/erl"
OWNER = """
import sys, time
from fedbus.broker.node.node import Node
node = Node()
node.start()
print(node.pid, node.port, node._supervisor.pid, node._directory, flush=True)
time.sleep(600)
"""


def connect(url: str) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.URLParameters(url))


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def session_members(session: int) -> list[tuple[int, str]]:
    """Live processes (pid, command) of the supervisor's session: itself, epmd and the server."""
    members = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            members.append((int(entry.name), command))
    return members


def processes_of(directory: Path) -> list[int]:
    """Live processes whose environment names the node's folder: server, epmd, port programs, supervisor."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(directory).encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


@pytest.fixture(scope="module")
def own_node() -> Iterator[Node]:
    """A node that may be killed, started while another process held the port it had chosen for its epmd."""
    with socket.socket() as taken:
        node = Node(users={"coordinator": "coordinator"}, consumer_timeout_ms=77_000, heartbeat=7)
        taken.bind(("127.0.0.1", node._state["ports"][2]))
        taken.listen()
        with node:
            assert node._state["ports"][2] != taken.getsockname()[1]
            yield node


def test_the_topology_exists_from_the_start(node: Node) -> None:
    queues = dict(line.split("\t") for line in node.rabbitmqctl("list_queues", "name", "type").splitlines()[1:])
    assert queues["fedbus.jobs.requests"] == queues["fedbus.dead"] == queues["fedbus.party.bank.control"] == "quorum"


def test_users_connect_with_their_own_passwords_only(node: Node) -> None:
    connect(node.url("bob")).close()
    assert node.url("bob").split("@")[0] != node.url("alice").split("@")[0]
    password = node.url("bob").split(":")[2].split("@")[0]
    login = 'element(1, rabbit_access_control:check_user_pass_login(<<"{}">>, <<"{}">>)).'
    assert node.rabbitmqctl("eval", login.format("bob", password)).strip() == "ok"
    assert node.rabbitmqctl("eval", login.format("alice", password)).strip() == "refused"
    with pytest.raises(BrokerError, match="no user mallory"):
        node.url("mallory")


def test_a_party_publishes_under_its_own_name_only(node: Node) -> None:
    connection = connect(node.url("bob"))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_publish("fedbus.events", "bob.j.state", b"x")
    with pytest.raises(ChannelClosedByBroker) as refused:
        channel.basic_publish("fedbus.events", "alice.j.state", b"x")
    assert refused.value.reply_code == 403
    with pytest.raises(ChannelClosedByBroker) as refused:
        connection.channel().queue_declare("fedbus.party.bob.mine")
    assert refused.value.reply_code == 403
    connection.close()


def refused(channel: BlockingChannel, command: Callable[[BlockingChannel], object]) -> bool:
    """Whether the broker closes the channel over a command because the user may not."""
    try:
        command(channel)
    except ChannelClosedByBroker as error:
        return bool(error.reply_code == 403)
    return False


def test_the_coordinator_serves_the_parties_queues_but_does_not_read_them(node: Node) -> None:
    connection = connect(node.url("coordinator"))
    own, other = topology.job_queue("coordinator", "j"), topology.job_queue("bank", "j")
    for queue in (own, other, topology.control_queue("bank")):
        channel = connection.channel()
        channel.queue_declare(queue.name, durable=True, arguments=queue.arguments)
        for exchange, key in queue.bindings:
            channel.queue_bind(queue.name, exchange, key)
    assert refused(connection.channel(), lambda channel: channel.basic_get("fedbus.party.bank.control"))
    assert refused(connection.channel(), lambda channel: channel.basic_get(other.name))
    assert refused(connection.channel(), lambda channel: channel.queue_purge(other.name))
    assert not refused(connection.channel(), lambda channel: channel.basic_get(own.name))
    for queue in (own, other):
        connection.channel().queue_delete(queue.name)
    connection.close()


def test_a_client_puts_requests_into_the_job_queue_and_binds_nothing_to_it(node: Node) -> None:
    connection = connect(node.url("client"))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_publish("fedbus.jobs", "query", b"x", mandatory=True)
    commands: list[Callable[[BlockingChannel], object]] = [
        lambda channel: channel.queue_bind("fedbus.jobs.requests", "fedbus.events", "#"),
        lambda channel: channel.basic_get("fedbus.jobs.requests"),
        lambda channel: channel.basic_publish("fedbus.data", "shop.bank.j", b"x"),
    ]
    for command in commands:
        other = connection.channel()
        other.confirm_delivery()
        assert refused(other, command)
    connection.close()
    connection = connect(node.url("coordinator"))
    connection.channel().queue_purge("fedbus.jobs.requests")
    connection.close()


def test_a_user_added_live_has_its_permissions_and_queue(node: Node) -> None:
    node.add_user("dora", "party")
    connection = connect(node.url("dora"))
    connection.channel().basic_consume("fedbus.party.dora.control", lambda *_: None)
    with pytest.raises(ChannelClosedByBroker) as refused:
        connection.channel().basic_consume("fedbus.party.bob.control", lambda *_: None)
    assert refused.value.reply_code == 403
    connection.close()


def test_it_listens_on_loopback_only(node: Node) -> None:
    inodes = set()
    for fd in Path(f"/proc/{node.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            inodes.add(str(fd.readlink()))
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                listening.append(fields[1].split(":"))
    assert len(listening) == 2
    assert {address for address, _ in listening} <= LOOPBACK
    assert f"{node.port:04X}" in {port for _, port in listening}


def test_no_password_is_on_a_command_line_or_in_a_readable_file(node: Node) -> None:
    assert node._supervisor is not None
    passwords = [node.url(user).split(":")[2].split("@")[0] for user in node.users]
    commands = session_members(node._supervisor.pid)
    assert any("beam" in command for _, command in commands)
    assert any("epmd" in command for _, command in commands)
    assert not any(password in command for password in passwords for _, command in commands)
    assert node._directory.stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_mode & 0o077 == 0 for file in node._directory.rglob("*") if file.is_file())


def test_settings_reach_the_server(own_node: Node) -> None:
    assert own_node.rabbitmqctl("eval", "application:get_env(rabbit, consumer_timeout).").strip() == "{ok,77000}"
    assert own_node.rabbitmqctl("eval", "application:get_env(rabbit, heartbeat).").strip() == "{ok,7}"
    with pytest.raises(BrokerError, match="rabbitmqctl no_such_command"):
        own_node.rabbitmqctl("no_such_command")


def test_after_a_kill_it_returns_on_the_same_port_with_the_same_messages(own_node: Node) -> None:
    url, port, pid = own_node.url("coordinator"), own_node.port, own_node.pid
    time.sleep(1.0)  # confirmed messages in a younger quorum queue may go with the server
    connection = connect(url)
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_publish("fedbus.jobs", "submit", b"kept", pika.BasicProperties(delivery_mode=2))
    connection.close()
    own_node.kill()
    assert own_node.pid is None
    assert pid is not None
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1.0)
    own_node.start()
    assert (own_node.port, own_node.url("coordinator")) == (port, url)
    again = connect(url)
    _, _, body = again.channel().basic_get("fedbus.jobs.requests", auto_ack=True)
    assert body == b"kept"
    again.close()


def test_it_dies_with_its_owner_killed_by_sigkill() -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None
        line = owner.stdout.readline().split()
        pid, directory = int(line[0]), Path(line[3])
        assert pid in processes_of(directory)
    finally:
        owner.kill()
        owner.communicate()
    wait_until(lambda: processes_of(directory) == [] and not directory.exists())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(line[1])), 1.0)


def test_stop_is_quick_idempotent_and_leaves_no_process_and_a_given_folder_keeps_all(tmp_path: Path) -> None:
    directory = tmp_path / "n"
    with Node(directory, users={"coordinator": "coordinator"}) as first:
        started = time.monotonic()
        first.stop()
        first.stop()
        # A server that does not end is waited for twice as long.
        assert time.monotonic() - started < 5.0
        assert processes_of(directory) == []
    second = Node(directory, users={"coordinator": "coordinator"})
    assert second.url("coordinator") == first.url("coordinator")
    with second:
        connect(second.url("coordinator")).close()
        assert second._supervisor is not None
        second._supervisor.kill()  # stop ends the server all the same
        second._supervisor.wait()
    wait_until(lambda: processes_of(directory) == [])
    assert (directory / "mnesia").is_dir()


def test_no_server_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDBUS_RABBITMQ", "none")
    with pytest.raises(BrokerError, match="run ops/install"), Node():
        pass


def test_a_server_that_ends_shows_the_end_of_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    server = root / "usr/lib/rabbitmq/bin/rabbitmq-server"
    epmd = root / "usr/bin/epmd"
    for file, script in ((server, "echo the disk is on fire"), (epmd, "exec sleep 60"), (root / ERL, "")):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
    monkeypatch.setenv("FEDBUS_RABBITMQ", str(root))
    with socket.socket() as listener:
        broken = Node()
        listener.bind(("127.0.0.1", broken._state["ports"][2]))
        listener.listen()
        with pytest.raises(BrokerError, match="the disk is on fire") as failed:
            broken.start()
    assert "run ops/install" in str(failed.value)
    broken.stop()
    assert not broken._directory.exists()


def test_a_client_cannot_bind_its_queue_to_the_replies_to_others(node: Node) -> None:
    connection = connect(node.url("client"))
    channel = connection.channel()
    own = channel.queue_declare("fedbus.watch.client.t", exclusive=True).method.queue
    channel.queue_bind(own, topology.REPLIES, "client.*.*")
    for key in ("#", "client2.*.*", "*.*.*"):
        with pytest.raises(ChannelClosedByBroker) as refused:
            connection.channel().queue_bind(own, topology.REPLIES, key)
        assert refused.value.reply_code == 403
    connection.close()
