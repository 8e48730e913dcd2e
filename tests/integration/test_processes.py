"""Real processes on a real RabbitMQ: killed, cut off, stopped and misused, as an operator's would be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedbus.broker.node.node import Node
from fedbus.broker.rabbitmq.broker import AmqpBroker
from fedbus.client import Client
from fedbus.messages.control import StateChanged
from fedbus.service.process import script
from fedbus.statuses import Status
from fedbus.store.sqlite import SqliteStore
from federation import motor, synthetic
from keyring import credentials, key_files
from processes import WAIT, Processes, follow, small

Start = Callable[..., Processes]


def test_separate_processes_give_what_one_process_gives(tmp_path: Path, node: Node) -> None:
    for name in ("memory", "amqp"):
        (tmp_path / name).mkdir()
    in_memory = motor(tmp_path / "memory", hosts=2, max_epochs=5, tolerance=0.0)
    on_rabbitmq = motor(tmp_path / "amqp", hosts=2, max_epochs=5, tolerance=0.0)
    first, second = in_memory.run("memory"), on_rabbitmq.run("amqp")
    assert first["state"] == second["state"] == "succeeded"
    np.testing.assert_allclose(first["loss"], second["loss"], rtol=1e-9)
    one, two = in_memory.weights(first["job"]), on_rabbitmq.weights(second["job"])
    np.testing.assert_allclose(one[0], two[0], atol=1e-7)


Undisturbed = tuple[dict[str, Any], np.ndarray]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Report and weights of the small job when nothing happens."""
    federation = small(tmp_path_factory.mktemp("undisturbed"))
    report = federation.run()
    return report, federation.weights(report["job"])[0]


@pytest.fixture(scope="module")
def undisturbed_gram(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Report and weights of the motor job of solver `gram` when nothing happens."""
    federation = motor(tmp_path_factory.mktemp("undisturbed"), solver="gram")
    report = federation.run()
    return report, federation.weights(report["job"])[0]


@pytest.mark.parametrize("victim", ["coordinator", "shop", "bank"])
def test_a_killed_process_goes_on_and_the_result_is_the_same(
    tmp_path: Path, processes: Start, client: Client, undisturbed: Undisturbed, victim: str
) -> None:
    federation = small(tmp_path)
    running = processes(federation)
    running.start_all()

    def kill() -> None:
        running.end(victim, signal.SIGKILL)
        running.start(victim)

    report = follow(client, client.submit(federation.spec()), {5: kill, 20: kill})
    assert report["state"] == "succeeded", report
    assert report["rounds"] == 40
    expected, weights = undisturbed
    # Rows are ordered by blinded values, which differ between jobs: sums differ in their last bits.
    np.testing.assert_allclose(report["loss"], expected["loss"], rtol=1e-9)
    assert set(running.end_all().values()) == {0}
    np.testing.assert_allclose(federation.weights(report["job"])[0], weights, atol=1e-9)


@pytest.mark.parametrize("victim", ["coordinator", "shop", "bank"])
def test_a_process_killed_in_the_pass_or_a_round_of_gram_goes_on(
    tmp_path: Path, processes: Start, client: Client, undisturbed_gram: Undisturbed, victim: str
) -> None:
    federation = motor(tmp_path, solver="gram")
    federation.limits = {"resend": 1.0}
    running = processes(federation)
    running.start_all()

    def kill() -> None:
        running.end(victim, signal.SIGKILL)
        running.start(victim)

    job = client.submit(federation.spec())
    assert any(isinstance(event, StateChanged) and event.state == "running" for event in client.watch(job, WAIT))
    kill()
    report = follow(client, job, {4: kill})
    assert report["state"] == "succeeded", report
    assert report["train"]["r2"] == pytest.approx(0.92339, abs=2e-5)
    assert set(running.end_all().values()) == {0}
    expected, weights = undisturbed_gram
    assert report["rounds"] == expected["rounds"]
    np.testing.assert_allclose(federation.weights(report["job"])[0], weights, atol=1e-9)


def test_cut_connections_are_made_again(tmp_path: Path, processes: Start, client: Client, node: Node) -> None:
    federation = small(tmp_path)
    running = processes(federation)
    running.start_all()

    def cut() -> None:
        with running.held("shop"):
            node.rabbitmqctl("close_all_connections", "--vhost", "/", "test")

    report = follow(client, client.submit(federation.spec()), {3: cut, 15: cut})
    assert report["state"] == "succeeded", report
    assert report["rounds"] == 40
    assert "fedbus_reconnections_total 0.0" not in running.metrics("bank")


def test_sigterm_ends_with_status_0_and_the_job_goes_on_later(tmp_path: Path, processes: Start, client: Client) -> None:
    federation = small(tmp_path)
    running = processes(federation)
    running.start_all()
    status: dict[str, int] = {}

    def restart() -> None:
        status["bank"] = running.end("bank", signal.SIGTERM)
        running.start("bank")

    report = follow(client, client.submit(federation.spec()), {4: restart})
    assert status == {"bank": 0}
    assert report["state"] == "succeeded"
    assert report["rounds"] == 40


def test_a_process_ends_with_the_one_that_started_it(tmp_path: Path, processes: Start) -> None:
    running = processes(small(tmp_path))
    running.start("coordinator")
    child = running.running["coordinator"]
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(WAIT) == 0


def test_long_arithmetic_does_not_cost_the_connection(tmp_path: Path) -> None:
    # Heartbeats of 1 s and a delivery time-out of 2 s against rounds of several seconds in two children.
    names = {"coordinator": "coordinator", "shop": "party", "bank": "party", "client": "client"}
    with Node(users=names, heartbeat=1, consumer_timeout_ms=2000) as node:
        federation = synthetic(tmp_path, rows=4000, key_bits=2048, max_epochs=1, tolerance=0.0)
        federation.write_job()
        for file in federation.files:
            file.write_text(file.read_text().replace("[datasets.rows]", "[broker]\nheartbeat = 1\n[datasets.rows]"))
        running = Processes(federation, node)
        broker = AmqpBroker(node.url("client"))
        try:
            # The native tier would be done before the time-out.
            running.start_all(FEDBUS_TIER="portable")
            with Client(broker, credentials=credentials("client")) as client:
                report = follow(client, client.submit(federation.spec()))
            assert report["state"] == "succeeded", report
            assert report["round_latency_seconds"]["p50"] > 2.0, "the round was too short to show anything"
            for name in ("shop", "bank"):
                assert "fedbus_reconnections_total 0.0" in running.metrics(name)
                assert "fedbus_redeliveries_total 0.0" in running.metrics(name)
        finally:
            broker.close()
            running.kill_all()


def test_a_cancelled_job_ends_on_all_sides(tmp_path: Path, processes: Start, client: Client) -> None:
    federation = small(tmp_path, max_epochs=1000)
    running = processes(federation)
    running.start_all()
    job = client.submit(federation.spec())
    report = follow(client, job, {2: lambda: client.cancel(job)})
    assert report["state"] == "cancelled"
    assert running.end("bank") == 0
    with SqliteStore(tmp_path / "state" / "bank.db") as store:
        record = store.job(job)
    assert record is not None
    assert record.state == "cancelled"


def test_metrics_tell_of_the_job(tmp_path: Path, processes: Start, client: Client) -> None:
    federation = small(tmp_path, max_epochs=5)
    running = processes(federation)
    running.start_all()
    report = follow(client, client.submit(federation.spec()))
    assert report["metrics"] == running.urls
    pages = {name: running.metrics(name) for name in running.urls}
    latency = 'fedbus_round_latency_seconds_count{algorithm="vertical-linear",phase="round",role="coordinator"} 5.0'
    assert latency in pages["coordinator"]
    assert f'fedbus_loss{{job="{report["job"]}"}} {report["loss"][-1]!r}' in pages["coordinator"]
    assert 'fedbus_jobs{state="succeeded"} 1.0' in pages["coordinator"]
    assert 'fedbus_messages_total{direction="sent",kind="forward"} 6.0' in pages["bank"]
    assert 'fedbus_messages_total{direction="received",kind="forward"} 6.0' in pages["shop"]
    assert 'fedbus_crypto_operations_total{operation="decrypt"}' in pages["coordinator"]
    assert "fedbus_publish_confirm_seconds_count" in pages["shop"]


def test_the_command_line_from_submitting_to_the_report(tmp_path: Path, processes: Start, node: Node) -> None:
    federation = small(tmp_path, max_epochs=3)
    running = processes(federation)
    running.start_all()
    own = key_files(tmp_path / "keys", "client").environment()
    environment = {**os.environ, "FEDBUS_AMQP_URL": node.url("client"), **own}

    def fedbus(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*script("fedbus"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=WAIT)

    submitted = fedbus("submit", str(federation.job_file))
    assert submitted.returncode == 0, submitted.stderr
    job = submitted.stdout.strip()
    watched = fedbus("watch", job, "--json", "-")
    assert watched.returncode == 0, watched.stderr
    assert json.loads(watched.stdout)["rounds"] == 3
    unknown = fedbus("watch", "no-such-job")
    assert unknown.returncode == Status.NOT_FOUND
    assert "no job no-such-job" in unknown.stderr
    ended = fedbus("cancel", job)
    assert ended.returncode == Status.JOB
    assert f"job {job} has ended already: succeeded; there is nothing to cancel" in ended.stderr
    assert ended.stdout == ""


def test_nobody_serves(node: Node, tmp_path: Path) -> None:
    federation = small(tmp_path)
    federation.write_job()
    done = subprocess.run(
        [sys.executable, "-m", "fedbus.cli", "submit", str(federation.job_file)],
        env={key: value for key, value in os.environ.items() if key != "FEDBUS_AMQP_URL"},
        capture_output=True, text=True, check=False, timeout=WAIT,
    )  # fmt: skip
    assert done.returncode == 2
    assert "FEDBUS_AMQP_URL: not set" in done.stderr
