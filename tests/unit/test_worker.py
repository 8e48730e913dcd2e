"""A party's control queue: what it takes, and what goes to the dead letters."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from fedbus import codec, topology
from fedbus.broker.base import Broker, Delivery, Outgoing
from fedbus.broker.memory import MemoryHub
from fedbus.crypto.engine import Engine
from fedbus.jobs import JobState, load
from fedbus.messages import Cancel, Envelope, Failed, Message, Outcome, Start
from fedbus.settings import load_party
from fedbus.store import Store
from federation import synthetic
from parties.worker import Worker

JOB = "test-1"


@pytest.fixture
def hub() -> MemoryHub:
    return MemoryHub()


@pytest.fixture
def broker(hub: MemoryHub) -> Iterator[Broker]:
    made = hub.connect("coordinator")
    made.declare([topology.dead_queue(), topology.control_queue("bank")])
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path, hub: MemoryHub, broker: Broker) -> Iterator[Store]:
    """The store of a party that serves, with one job that has ended."""
    federation = synthetic(tmp_path)
    spec = load(federation.write_job())
    connection, engine = hub.connect("bank"), Engine(0)
    with Store(tmp_path / "bank.db") as made:
        made.add_job(JOB, codec.pack(spec.to_map()), JobState.FAILED)
        worker = Worker(load_party(federation.files[1], {}), connection, made, engine, "")
        worker.start()
        yield made
        worker.stop()
        connection.close()
        engine.close()


@pytest.mark.parametrize(
    ("sender", "message", "reason"),
    [
        ("coordinator", Outcome("sleeping", ""), "no end: sleeping"),
        ("coordinator", Outcome("running", ""), "no end: running"),
        ("coordinator", Cancel(), "cancel message on the control queue"),
        ("shop", Outcome("cancelled", ""), "of shop by coordinator"),
    ],
)
def test_what_is_no_control_message_is_a_dead_letter(
    broker: Broker, store: Store, sender: str, message: Message, reason: str
) -> None:
    letters: Future[Delivery] = Future()
    broker.consume(topology.DEAD, letters.set_result)
    envelope = Envelope(JOB, sender, "bank", message)
    key = topology.control_key("bank", JOB, envelope.kind)
    broker.publish(Outgoing(topology.CONTROL, key, codec.encode(envelope), envelope.id)).result(5)
    assert reason in str(letters.result(5).headers["x-fedbus-reason"])
    record = store.job(JOB)
    assert record is not None
    assert record.state is JobState.FAILED


def test_a_start_that_this_version_refuses_is_answered(hub: MemoryHub, broker: Broker, store: Store) -> None:
    answers: Future[Delivery] = Future()
    broker.declare([topology.job_queue("coordinator", "test-2")])
    broker.consume(topology.job_queue("coordinator", "test-2").name, answers.set_result)
    envelope = Envelope("test-2", "coordinator", "bank", Start({"name": "j", "algorithm": "vertical-forest"}))
    key = topology.control_key("bank", "test-2", envelope.kind)
    broker.publish(Outgoing(topology.CONTROL, key, codec.encode(envelope), envelope.id)).result(5)
    answer = codec.decode(answers.result(5).body).payload
    assert isinstance(answer, Failed)
    assert "vertical-forest" in answer.reason
    assert store.job("test-2") is None
