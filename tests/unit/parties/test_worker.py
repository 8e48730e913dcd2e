"""A party's control queue: what it takes, what goes to the dead letters, and what becomes of an end that comes late."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from fedbus import codec, topology
from fedbus.algorithms.registry import load, parse
from fedbus.broker.base import Broker, Delivery, Outgoing
from fedbus.broker.memory.broker import MemoryHub
from fedbus.crypto.engine import Engine
from fedbus.job import JobState
from fedbus.messages.control import Cancel, Failed, Notice, Outcome, Start, StateChanged
from fedbus.messages.envelope import Envelope, Message
from fedbus.settings import load_party
from fedbus.store.records import JobRecord
from fedbus.store.sqlite import SqliteStore
from federation import synthetic
from keyring import introduced, opened, sealed, start, submission
from parties.worker import Worker

JOB = "test-1"
SPEC = parse(
    {
        "name": "test",
        "algorithm": "vertical-linear",
        "guest": {"party": "shop", "dataset": "rows", "label": "y"},
        "hosts": [{"party": "bank", "dataset": "rows"}],
    }
)


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
        made.add_job(JOB, codec.pack(spec.to_map()), JobState.FAILED, owner="alice")
        own = introduced(load_party(federation.files[1], {}), tmp_path / "keys")
        worker = Worker(own, connection, made, engine, "")
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
        ("coordinator", Notice("x"), "notice message on the control queue"),
        ("coordinator", Cancel(), "cancel message of coordinator, a coordinator, who may not send it"),
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
    broker.publish(Outgoing(topology.CONTROL, key, sealed(envelope), envelope.id)).result(5)
    assert reason in str(letters.result(5).headers["x-fedbus-reason"])
    record = store.job(JOB)
    assert record is not None
    assert record.state is JobState.FAILED


def test_a_start_that_this_version_refuses_is_answered(hub: MemoryHub, broker: Broker, store: SqliteStore) -> None:
    answers: Future[Delivery] = Future()
    broker.declare([topology.job_queue("coordinator", "test-2")])
    broker.consume(topology.job_queue("coordinator", "test-2").name, answers.set_result)
    order = Start({"name": "j", "algorithm": "vertical-forest"}, "alice", bytes(64))
    envelope = Envelope("test-2", "coordinator", "bank", order)
    key = topology.control_key("bank", "test-2", envelope.kind)
    broker.publish(Outgoing(topology.CONTROL, key, sealed(envelope), envelope.id)).result(5)
    answer = opened("coordinator", answers.result(5).body).payload
    assert isinstance(answer, Failed)
    assert "vertical-forest" in answer.reason
    assert store.job("test-2") is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"signature": bytes(64)}, "that its submitter did not sign: the fedbus job of alice is not signed by the key"),
        # A job signed for another id: the coordinator runs yesterday's job once more.
        ({"signature": submission("test-1", SPEC).signature}, "that its submitter did not sign"),
        ({"owner": "bert"}, "that its submitter did not sign: the fedbus job of bert is not signed"),
        ({"owner": "eve", "signature": submission("test-2", SPEC, "eve").signature}, "'eve' is not on the roster"),
        ({"owner": "shop", "signature": submission("test-2", SPEC, "shop").signature}, "signed by a party, where only"),
        ({"spec": {**SPEC.to_map(), "name": "another"}}, "that its submitter did not sign"),
    ],
)
def test_a_job_that_no_client_signed_is_not_begun_and_the_coordinator_hears_why(
    hub: MemoryHub, broker: Broker, store: SqliteStore, change: dict[str, Any], reason: str
) -> None:
    answers: Future[Delivery] = Future()
    broker.declare([topology.job_queue("coordinator", "test-2")])
    broker.consume(topology.job_queue("coordinator", "test-2").name, answers.set_result)
    order = dataclasses.replace(start("test-2", SPEC), **change)
    envelope = Envelope("test-2", "coordinator", "bank", order)
    key = topology.control_key("bank", "test-2", envelope.kind)
    broker.publish(Outgoing(topology.CONTROL, key, sealed(envelope), envelope.id)).result(5)
    answer = opened("coordinator", answers.result(5).body).payload
    assert isinstance(answer, Failed)
    assert reason in answer.reason
    assert store.job("test-2") is None


@pytest.mark.parametrize(
    ("sender", "sealer", "reason"),
    [
        ("shop", "shop", "start message of shop, a party, who may not send it"),
        ("coordinator", "shop", "start message of coordinator by shop"),
        ("eve", "eve", "'eve' is not on the roster"),
        ("coordinator-2", "coordinator-2", "coordinator-2 is not the coordinator of job test-2"),
    ],
)
def test_nobody_but_the_coordinator_of_a_job_has_a_party_begin_it(
    hub: MemoryHub, broker: Broker, store: SqliteStore, sender: str, sealer: str, reason: str
) -> None:
    letters: Future[Delivery] = Future()
    broker.consume(topology.DEAD, letters.set_result)
    envelope = Envelope("test-2", sender, "bank", start("test-2", SPEC))
    publisher = hub.connect(sealer)
    key = topology.control_key("bank", "test-2", envelope.kind)
    publisher.publish(Outgoing(topology.CONTROL, key, sealed(envelope, sealer), envelope.id)).result(5)
    publisher.close()
    assert reason in str(letters.result(5).headers["x-fedbus-reason"])
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
        made.add_job(JOB, codec.pack(spec.to_map()), JobState.RUNNING, owner="alice")
        if model:
            made.save_model(JOB, b"share")
        worker = Worker(introduced(load_party(federation.files[1], {}), folder / "keys"), connection, made, engine, "")
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
    watch = topology.watch_queue("coordinator", "test", job=JOB)
    broker.declare([watch])

    def see(delivery: Delivery) -> None:
        payload = opened("alice", delivery.body).payload
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
            broker.publish(Outgoing(topology.CONTROL, key, sealed(envelope), envelope.id)).result(5)
            told = events.get(timeout=5)
            record = store.job(JOB)
            assert record is not None
            assert (told.state, told.reason) == (record.state, record.reason)
            if each is outcome:
                assert record.state is state
                assert record.reason.startswith(reason)
        assert record.state is state
