"""A party's control queue: what it takes, what goes to the dead letters, and what becomes of an end that comes late."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue

import pytest

from fedbus import codec, topology
from fedbus.algorithms.registry import load
from fedbus.broker.base import Broker, Delivery, Outgoing
from fedbus.broker.memory.broker import MemoryHub
from fedbus.crypto.engine import Engine
from fedbus.job import JobState
from fedbus.messages.control import Cancel, Failed, Outcome, Start, StateChanged
from fedbus.messages.envelope import Envelope, Message
from fedbus.settings import load_party
from fedbus.store.records import JobRecord
from fedbus.store.sqlite import SqliteStore
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
def store(tmp_path: Path, hub: MemoryHub, broker: Broker) -> Iterator[SqliteStore]:
    """The store of a party that serves, with one job that has ended."""
    federation = synthetic(tmp_path)
    spec = load(federation.write_job())
    connection, engine = hub.connect("bank"), Engine(0)
    with SqliteStore(tmp_path / "bank.db") as made:
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
    broker: Broker, store: SqliteStore, sender: str, message: Message, reason: str
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


def test_a_start_that_this_version_refuses_is_answered(hub: MemoryHub, broker: Broker, store: SqliteStore) -> None:
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


def wait_for(store: SqliteStore, *wanted: JobState) -> JobRecord:
    """The record of the job once it is in one of these states."""
    never = threading.Event()
    while (record := store.job(JOB)) is None or record.state not in wanted:
        assert not never.wait(0.01)
    return record


@contextlib.contextmanager
def left_alone(folder: Path, hub: MemoryHub, *, model: bool) -> Iterator[SqliteStore]:
    """The store of a party that goes on with a job whose coordinator is silent until the party gives up."""
    federation = synthetic(folder)
    federation.limits = {"silence": 0.1, "resend": 0.05}
    spec = load(federation.write_job())
    connection, engine = hub.connect("bank"), Engine(0)
    with SqliteStore(folder / "bank.db") as made:
        made.add_job(JOB, codec.pack(spec.to_map()), JobState.RUNNING)
        if model:
            made.save_model(JOB, b"share")
        worker = Worker(load_party(federation.files[1], {}), connection, made, engine, "")
        worker.start()
        assert "limits.silence" in wait_for(made, JobState.FAILED).reason
        yield made
        worker.stop()
        connection.close()
        engine.close()
        worker.join()


@pytest.mark.parametrize(
    ("model", "outcome", "state", "reason"),
    [
        (True, Outcome("succeeded", ""), JobState.SUCCEEDED, ""),
        (False, Outcome("succeeded", ""), JobState.FAILED, "coordinator did not say how the job ended"),
        (True, Outcome("cancelled", "cancelled by alice"), JobState.CANCELLED, "cancelled by alice"),
    ],
)
def test_the_coordinators_late_word_replaces_the_end_of_a_party_that_heard_of_none(
    tmp_path: Path, hub: MemoryHub, broker: Broker, model: bool, outcome: Outcome, state: JobState, reason: str
) -> None:
    events: SimpleQueue[StateChanged] = SimpleQueue()
    watch = topology.watch_queue("coordinator", "test", JOB)
    broker.declare([watch])

    def see(delivery: Delivery) -> None:
        payload = codec.decode(delivery.body).payload
        assert isinstance(payload, StateChanged)
        events.put(payload)
        delivery.ack()

    broker.consume(watch.name, see)
    with left_alone(tmp_path, hub, model=model) as store:
        assert events.get(timeout=5).state == "failed"
        # The second time the end is the coordinator's own, and stays.
        for each in (outcome, Outcome("failed", "another word")):
            envelope = Envelope(JOB, "coordinator", "bank", each)
            key = topology.control_key("bank", JOB, envelope.kind)
            broker.publish(Outgoing(topology.CONTROL, key, codec.encode(envelope), envelope.id)).result(5)
            told = events.get(timeout=5)
            record = store.job(JOB)
            assert record is not None
            assert (told.state, told.reason) == (record.state, record.reason)
            if each is outcome:
                assert record.state is state
                assert record.reason.startswith(reason)
        assert record.state is state
