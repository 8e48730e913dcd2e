"""`fedbus broker`: a private node in the foreground that serves the users of given definitions, and ends when asked."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from pathlib import Path

import pika
import pytest

from certificates import files
from fedbus.broker.node.server import free_ports, is_free
from fedbus.broker.rabbitmq.broker import AmqpBroker
from fedbus.service.process import script

WAIT = 60.0


def start(folder: Path, port: int, *options: str, definitions: str = "definitions.json") -> subprocess.Popen[str]:
    command = [*script("fedbus"), "broker", "node", "--definitions", definitions, "--port", str(port), *options]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    command = [*script("fedbus"), "broker-definitions", "--coordinator", "coordinator", "--party", "north"]
    made = subprocess.run([*command, "--urls", "urls"], cwd=tmp_path, check=True, capture_output=True, text=True)
    (tmp_path / "definitions.json").write_text(made.stdout)
    return tmp_path


def test_it_serves_the_users_of_its_definitions_until_sigterm_and_keeps_what_queues_have(folder: Path) -> None:
    port = free_ports()[0]
    login = (folder / "urls" / "north.url").read_text().strip().replace(":5672", f":{port}")
    for life in ("first", "second"):
        node = start(folder, port)
        assert node.stdout is not None
        assert node.stdout.readline().startswith(f"RabbitMQ serves amqp://127.0.0.1:{port};")
        with contextlib.closing(pika.BlockingConnection(pika.URLParameters(login))) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            if life == "first":
                channel.basic_publish("fedbus.dead", "x", b"kept", pika.BasicProperties(delivery_mode=2))
            held = connection.channel().queue_declare("fedbus.party.north.control", passive=True)
            assert held.method.consumer_count == 0
        if life == "second":
            with pytest.raises(pika.exceptions.ProbableAuthenticationError):
                pika.BlockingConnection(pika.URLParameters(f"amqp://guest:guest@127.0.0.1:{port}/"))
        node.send_signal(signal.SIGTERM)
        _, told = node.communicate(timeout=WAIT)
        assert (node.returncode, told) == (0, "")
        assert is_free(port)
    assert os.stat(folder / "node" / "definitions.json").st_mode & 0o077 == 0  # noqa: PTH116


def test_a_folder_in_which_a_node_runs_is_told_with_its_process_and_the_node_goes_on(folder: Path) -> None:
    port, other = free_ports()[:2]
    node = start(folder, port)
    assert node.stdout is not None
    assert node.stdout.readline().startswith("RabbitMQ serves")
    for taken in (port, other):
        second = start(folder, taken)
        _, told = second.communicate(timeout=WAIT)
        assert second.returncode == 6
        assert told == (
            f"error: node: process {node.pid} runs a RabbitMQ node in this folder already; end that process, or name"
            " another folder, and another --port\n"
        )
    login = (folder / "urls" / "north.url").read_text().strip().replace(":5672", f":{port}")
    pika.BlockingConnection(pika.URLParameters(login)).close()
    node.send_signal(signal.SIGTERM)
    node.communicate(timeout=WAIT)
    assert node.returncode == 0


def test_what_keeps_it_from_starting_is_told(folder: Path) -> None:
    (folder / "other.json").write_text("[1]")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for definitions, status, expected in (
            ("definitions.json", 6, f"port {port} of 127.0.0.1 is in use"),
            ("other.json", 2, "other.json: has no users"),
            ("none.json", 2, "none.json: cannot be read"),
        ):
            node = start(folder, port, definitions=definitions)
            _, told = node.communicate(timeout=WAIT)
            assert node.returncode == status
            assert expected in told


def test_with_certificates_it_serves_tls_alone_and_a_member_logs_in_by_its_own(folder: Path) -> None:
    command = [*script("fedbus"), "tls", "tls", "--broker", "localhost", "--member", "north"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    port = free_ports()[0]
    own = folder / "tls" / "members" / "north"
    node = start(folder, port, "--certificates", "tls/broker")
    assert node.stdout is not None
    assert node.stdout.readline().startswith(f"RabbitMQ serves amqps://127.0.0.1:{port};")
    with contextlib.closing(AmqpBroker(f"amqps://localhost:{port}/", tls=files(own))) as broker:
        broker.connect(WAIT)
        assert broker.user == "north"
    node.send_signal(signal.SIGTERM)
    node.communicate(timeout=WAIT)
    assert node.returncode == 0


def test_a_folder_without_the_broker_s_certificate_is_named(folder: Path) -> None:
    node = start(folder, 5999, "--certificates", "urls")
    _, told = node.communicate(timeout=WAIT)
    assert node.returncode == 2
    assert told == "error: --certificates: urls/ca.pem: no such file\n"
