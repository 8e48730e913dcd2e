"""A watcher's view of a job: each state once, in order, to the end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fedbus import topology
from fedbus.broker.base import Broker, Delivery
from fedbus.broker.memory.broker import MemoryHub
from fedbus.cli.remote import _finish, _followed, _hear
from fedbus.client import Client
from fedbus.errors import ConnectionLost, FedbusError, JobRefused, NotFound
from fedbus.messages.control import Notice, Progress, Query, StateChanged, Submit
from fedbus.messages.envelope import Envelope
from fedbus.messages.ledger import JobShown, ShowJob
from fedbus.session.events import Events
from federation import synthetic
from keyring import credentials, opened, seals

JOB = "test-1"


def events(broker: Broker) -> Events:
    """What a coordinator tells, or one that poses as it, over its own connection."""
    return Events(broker, seals("coordinator"))


def test_the_answer_to_a_query_is_not_shown_twice() -> None:
    hub = MemoryHub()
    coordinator, watching = hub.connect("coordinator"), hub.connect("client")
    coordinator.declare([topology.dead_queue(), topology.jobs_queue()])

    def announce(state: str, job: str = JOB) -> None:
        events(coordinator).publish(job, "client", StateChanged(state))

    def answer(delivery: Delivery) -> None:
        assert isinstance(opened("coordinator", delivery.body).payload, Query)
        delivery.ack()
        for state in ("submitted", "submitted", "running"):
            announce(state)
        announce("failed", job="test-2")
        for state in ("running", "cancelled"):
            announce(state)

    coordinator.consume(topology.JOBS_QUEUE, answer)
    with Client(watching, credentials=credentials("client")) as client:
        seen = [event.state for event in client.watch(JOB, timeout=10) if isinstance(event, StateChanged)]
    watching.close()
    coordinator.close()
    assert seen == ["submitted", "running", "cancelled"]


def test_only_the_coordinator_speaks_for_a_job() -> None:
    hub = MemoryHub()
    coordinator, bank, watching = (hub.connect(name) for name in ("coordinator", "bank", "client"))
    coordinator.declare([topology.dead_queue(), topology.jobs_queue()])

    def answer(delivery: Delivery) -> None:
        delivery.ack()
        # A party may watch nobody's job and tell nobody's state but its own.
        Events(bank, seals("bank")).publish(JOB, "client", StateChanged("running"))
        # One that stole the coordinator's key is still another user of the broker.
        events(bank).publish(JOB, "client", StateChanged("succeeded", "", {"state": "succeeded"}))
        events(coordinator).publish(JOB, "client", StateChanged("sleeping"))
        events(coordinator).publish(JOB, "client", StateChanged("failed", "why"))

    coordinator.consume(topology.JOBS_QUEUE, answer)
    with Client(watching, credentials=credentials("client")) as client:
        seen = [event for event in client.watch(JOB, timeout=10) if isinstance(event, StateChanged)]
    for broker in (watching, bank, coordinator):
        broker.close()
    assert seen == [StateChanged("failed", "why")]


def test_a_lost_event_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedbus.client._CHECK_SECONDS", 0.01)
    monkeypatch.setattr("fedbus.following._ASK_AGAIN_SECONDS", 0.02)
    hub = MemoryHub()
    coordinator, watching = hub.connect("coordinator"), hub.connect("client")
    coordinator.declare([topology.dead_queue(), topology.jobs_queue()])
    answers = iter(["running", "running", "failed"])

    def answer(delivery: Delivery) -> None:
        delivery.ack()
        events(coordinator).publish(JOB, "client", StateChanged(next(answers)))

    coordinator.consume(topology.JOBS_QUEUE, answer)
    with Client(watching, credentials=credentials("client")) as client:
        seen = [event.state for event in client.watch(JOB, timeout=10) if isinstance(event, StateChanged)]
    watching.close()
    coordinator.close()
    assert seen == ["running", "failed"]


def test_a_watch_ends_with_what_its_check_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedbus.client._CHECK_SECONDS", 0.01)
    hub = MemoryHub()
    coordinator, watching = hub.connect("coordinator"), hub.connect("client")
    coordinator.declare([topology.dead_queue(), topology.jobs_queue()])

    def check() -> None:
        raise FedbusError("bank ended with status 137")

    with Client(watching, credentials=credentials("client")) as client, pytest.raises(FedbusError, match="137"):
        next(client.watch(JOB, check=check))
    watching.close()
    coordinator.close()


def test_threads_of_one_client_each_see_all_events_of_their_job() -> None:
    hub = MemoryHub()
    coordinator, watching = hub.connect("coordinator"), hub.connect("client")
    coordinator.declare([topology.dead_queue(), topology.jobs_queue()])
    asked: list[str] = []

    def answer(delivery: Delivery) -> None:
        asked.append(opened("coordinator", delivery.body).job)
        delivery.ack()
        if len(asked) < 4:
            return
        # All four watch by now: two of them the same job.
        for number in range(1, 51):
            for job in sorted(set(asked)):
                events(coordinator).publish(job, "client", Progress(number, 1, 0.5, 0.1), number)
        for job in sorted(set(asked)):
            events(coordinator).publish(job, "client", StateChanged("cancelled"))

    coordinator.consume(topology.JOBS_QUEUE, answer)
    with Client(watching, credentials=credentials("client")) as client, ThreadPoolExecutor(4) as threads:
        watches = [threads.submit(lambda job=job: list(client.watch(job, 30))) for job in ("j-1", "j-2", "j-3", "j-1")]
        seen = [watch.result() for watch in watches]
    watching.close()
    coordinator.close()
    for each in seen:
        assert [event.round for event in each if isinstance(event, Progress)] == list(range(1, 51))
        assert each[-1] == StateChanged("cancelled")


def test_threads_of_one_client_that_ask_for_the_same_job_are_all_answered() -> None:
    hub = MemoryHub()
    coordinator, asking = hub.connect("coordinator"), hub.connect("client")
    coordinator.declare([topology.dead_queue(), topology.jobs_queue()])
    asked: list[Delivery] = []

    def answer(delivery: Delivery) -> None:
        delivery.ack()
        asked.append(delivery)
        if len(asked) == 2:
            # The first answer is all that both wait for: with it one of them may be gone before the second comes.
            request = Envelope(JOB, "client", "coordinator", ShowJob())
            events(coordinator).reply(request, JobShown("no such job", known=False))

    coordinator.consume(topology.JOBS_QUEUE, answer)
    with Client(asking, credentials=credentials("client")) as client, ThreadPoolExecutor(2) as threads:
        shown = [threads.submit(client.show, JOB, 10.0) for _ in range(2)]
        assert {type(each.exception()) for each in shown} == {NotFound}
    asking.close()
    coordinator.close()


def test_a_coordinator_that_is_silent_and_answers_again_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedbus.client._CHECK_SECONDS", 0.01)
    monkeypatch.setattr("fedbus.following._ASK_AGAIN_SECONDS", 0.02)
    hub = MemoryHub()
    coordinator, watching = hub.connect("coordinator"), hub.connect("client")
    coordinator.declare([topology.dead_queue(), topology.jobs_queue()])

    def answer(delivery: Delivery) -> None:
        delivery.ack()
        events(coordinator).publish(JOB, "client", StateChanged("cancelled"))

    with Client(watching, credentials=credentials("client")) as client:
        seen = client.watch(JOB, timeout=30)
        first = next(seen)
        assert isinstance(first, Notice)
        assert "no word from the coordinator" in first.text
        coordinator.consume(topology.JOBS_QUEUE, answer)
        assert list(seen) == [Notice("the coordinator answers again"), StateChanged("cancelled")]
    watching.close()
    coordinator.close()


def test_a_client_that_is_closed_ends_its_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedbus.client._CHECK_SECONDS", 0.01)
    hub = MemoryHub()
    coordinator, watching = hub.connect("coordinator"), hub.connect("client")
    coordinator.declare([topology.dead_queue(), topology.jobs_queue()])
    client = Client(watching, credentials=credentials("client"))
    with ThreadPoolExecutor(1) as thread:
        watch = thread.submit(lambda: list(client.watch(JOB)))
        client.close()
        with pytest.raises(ConnectionLost, match="closed"):
            watch.result(30)
    watching.close()
    coordinator.close()


def test_a_submission_that_never_arrives_is_given_up_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedbus.client._CHECK_SECONDS", 0.01)
    monkeypatch.setattr("fedbus.following._ASK_AGAIN_SECONDS", 0.02)
    monkeypatch.setattr("fedbus.submissions.PAUSE_SECONDS", 0.01)
    hub = MemoryHub()
    coordinator, watching = hub.connect("coordinator"), hub.connect("client")
    coordinator.declare([topology.dead_queue(), topology.jobs_queue()])
    submitted: list[str] = []

    def forget(delivery: Delivery) -> None:
        envelope = opened("coordinator", delivery.body)
        if isinstance(envelope.payload, Submit):
            submitted.append(envelope.job)
        unknown = StateChanged("unknown", f"this coordinator has no job {envelope.job}")
        events(coordinator).publish(envelope.job, "client", unknown)
        delivery.ack()

    coordinator.consume(topology.JOBS_QUEUE, forget)
    federation = synthetic(tmp_path)
    federation.write_job()
    with Client(watching, credentials=credentials("client")) as client:
        job = client.submit(federation.spec())
        with pytest.raises(JobRefused, match=f"no job {job}, although the broker had taken it; submit it again"):
            _hear(client, job)
        with pytest.raises(NotFound, match="it was lost: submit it again"):
            _finish(_followed(client, job), None)
        # Of a job that this client has not submitted the coordinator's word counts at once.
        assert [event.state for event in client.watch("other") if isinstance(event, StateChanged)] == ["unknown"]
    watching.close()
    coordinator.close()
    assert submitted == 3 * [job]
