"""What the coordinator tells parties of a job, and how often where it does not arrive."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from bench import WAIT, Bench, states, watching

from coordinator.conductor import tell
from fedbus import topology
from fedbus.broker.base import Broker
from fedbus.errors import BrokerError, Nacked, Unroutable
from fedbus.messages.control import Notice, Outcome, Start, StateChanged
from fedbus.messages.envelope import Envelope, Message
from fedbus.seals import IdentitySeals
from keyring import submission


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.admin.close()
    bench.store.close()


def test_a_party_that_does_not_join_is_told_again_to_start(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedbus.session.rollcall.FIRST_SECONDS", 0.02)
    with bench.serving(), watching(bench, "alice") as alice:
        job = alice.submit(bench.spec)
        first, again = bench.told.get(timeout=WAIT), bench.told.get(timeout=WAIT)
        assert (first.id, first.payload) == (again.id, again.payload)
        assert isinstance(first.payload, Start)
        alice.cancel(job)
        assert states(alice, job)[-1].state == "cancelled"


@pytest.mark.parametrize(
    ("kind", "error", "times"),
    [
        (Start, Unroutable, 2),
        (Start, Unroutable, 5),
        (Start, Nacked, 1),
        (Outcome, Unroutable, 2),
    ],
)
def test_a_party_whose_control_queue_is_being_declared_again_is_told_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: type[Message], error: type[BrokerError], times: int
) -> None:
    failures = [error("no queue takes it") for _ in range(times)]

    def missing(broker: Broker, seals: IdentitySeals, envelope: Envelope, *, wait: bool = False) -> Future[None]:
        if not failures or envelope.recipient != "bank" or not isinstance(envelope.payload, kind):
            return tell(broker, seals, envelope, wait=wait)
        future: Future[None] = Future()
        future.set_exception(failures.pop())
        return future

    monkeypatch.setattr("coordinator.conductor.tell", missing)
    monkeypatch.setattr("coordinator.conductor.delay", lambda _: 0.001)
    monkeypatch.setattr("fedbus.session.rollcall.FIRST_SECONDS", 0.02)
    with bench.serving(), watching(bench, "alice") as alice:
        job = alice.submit(bench.spec)
        assert isinstance(bench.told.get(timeout=WAIT).payload, Start)
        alice.cancel(job)
        assert states(alice, job)[-1].reason == "cancelled by alice"
        while not isinstance(last := bench.told.get(timeout=WAIT).payload, Outcome):
            pass
        assert last == Outcome("cancelled", "cancelled by alice")
    assert not failures


def test_only_a_party_that_the_coordinator_does_not_know_is_refused_for_want_of_a_queue(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordinator.conductor.delay", lambda _: WAIT)
    bench.hub.drop(topology.control_queue("bank").name)
    with bench.serving(parties=("shop", "bnak")), watching(bench, "alice") as alice:
        last = states(alice, alice.submit(bench.spec))[-1]
    assert last.state == "failed"
    assert "bank is not among this coordinator's `parties`, and has no queue; did you mean 'bnak'?" in last.reason


def test_a_submission_that_was_lost_with_its_queue_is_submitted_again_once(bench: Bench) -> None:
    with watching(bench, "alice") as alice:
        job = alice.submit(bench.spec)
        bench.hub.drop(topology.JOBS_QUEUE)
        with bench.serving():
            seen = alice.watch(job, WAIT)
            first, second = next(seen), next(seen)
            assert isinstance(first, Notice)
            assert "submitted again" in first.text
            assert isinstance(second, StateChanged)
            assert second.state in ("submitted", "starting")
            started = bench.told.get(timeout=WAIT)
            assert (started.job, type(started.payload)) == (job, Start)
            # One that comes twice changes nothing.
            bench.request(topology.SUBMIT, job, "alice", submission(job, bench.spec))
            alice.cancel(job)
            ended = [event for event in seen if isinstance(event, StateChanged)][-1]
            assert ended.state == "cancelled"
            bench.request(topology.SUBMIT, job, "alice", submission(job, bench.spec))
            assert states(alice, job)[-1].state == "cancelled"
            record = bench.store.job(job)
            assert record is not None
            assert record.owner == "alice"
            assert [each.state for each in bench.store.history(job)].count("submitted") == 1
