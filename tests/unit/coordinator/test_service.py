"""The coordinator's queue and ledger: who may ask for what, and what a restart makes of each state of a job."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench import WAIT, Bench, states, watching

from fedbus import codec, topology
from fedbus.algorithms import registry
from fedbus.broker.base import Outgoing
from fedbus.errors import ConnectionLost, JobRefused, StoreError, StoreFull
from fedbus.job import JobState
from fedbus.messages.control import Cancel, Departed, Inquire, Notice, Outcome, Query, Start, StateChanged, Submit
from fedbus.messages.envelope import Envelope, Message
from keyring import sealed, submission


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.admin.close()
    bench.store.close()


def test_only_the_owner_and_operators_may_cancel(bench: Bench) -> None:
    with bench.serving(operators=("olga",)), contextlib.ExitStack() as stack:
        alice, olga, mallory = (stack.enter_context(watching(bench, name)) for name in ("alice", "olga", "mallory"))
        for canceller, expected in ((alice, "alice"), (olga, "olga")):
            job = alice.submit(bench.spec)
            # An operator sees what is told of others' jobs.
            seen = olga.watch(job, WAIT)
            next(seen)
            mallory.cancel(job)
            refused = next(event for event in seen if isinstance(event, StateChanged) and "mallory" in event.reason)
            assert refused.state in ("submitted", "starting")
            canceller.cancel(job)
            ended = states(alice, job)[-1]
            assert (ended.state, ended.reason) == ("cancelled", f"cancelled by {expected}")


def test_nobody_but_the_submitter_and_operators_hears_of_a_job(bench: Bench) -> None:
    with bench.serving(operators=("olga",)), contextlib.ExitStack() as stack:
        alice, olga, mallory = (stack.enter_context(watching(bench, name)) for name in ("alice", "olga", "mallory"))
        job = alice.submit(bench.spec)
        assert isinstance(bench.told.get(timeout=WAIT).payload, Start)
        (told,) = states(mallory, job)
        assert (told.state, told.reason) == ("unknown", f"this coordinator has no job {job} of yours")
        assert next(olga.watch(job, WAIT)) != told
        alice.cancel(job)
        assert states(alice, job)[-1].state == "cancelled"


def test_a_job_that_its_sender_did_not_sign_or_may_not_submit_is_refused(bench: Bench) -> None:
    with bench.serving(), watching(bench, "alice") as alice:
        other = submission("job-2", bench.spec)
        for number, (signed, why) in enumerate(
            [
                (Submit(bench.spec.to_map(), bytes(64)), "is not signed by the key"),
                # Signed under another id: what was run yesterday cannot be run again under a new one.
                (other, "is not signed by the key"),
                (submission("test-2", bench.spec, by="mallory"), "is not signed by the key"),
            ]
        ):
            bench.request(topology.SUBMIT, f"test-{number}", "alice", signed)
            (told,) = states(alice, f"test-{number}")
            assert told.state == "failed"
            assert why in told.reason
        # A party is a member, too, and submits nothing.
        bench.request(topology.SUBMIT, "test-9", "bank", submission("test-9", bench.spec, by="bank"))
        assert "submit message of bank, a party, who may not send it" in bench.dead.get(timeout=WAIT)
        assert bench.store.job("test-9") is None
        # Whoever is not on the roster is nobody.
        bench.request(topology.SUBMIT, "test-9", "eve", submission("test-9", bench.spec, by="eve"))
        assert "'eve' is not on the roster" in bench.dead.get(timeout=WAIT)
    assert bench.told.empty()


@pytest.mark.parametrize(
    ("key", "message", "sender", "to", "reason"),
    [
        (topology.CANCEL, Cancel(), "alice", "", "cancel request of alice by mallory"),
        (topology.SUBMIT, Submit({}, bytes(64)), "alice", "", "submit request of alice by mallory"),
        (topology.QUERY, Query(), "", "coordinator-2", "for coordinator coordinator-2"),
    ],
)
def test_a_request_under_another_name_is_a_dead_letter(
    bench: Bench, key: str, message: Message, sender: str, to: str, reason: str
) -> None:
    bench.add("job-1", JobState.CANCELLING)
    with bench.serving():
        bench.request(key, "job-1", "mallory", message, sender, to)
        assert reason in bench.dead.get(timeout=WAIT)


def test_a_cancelled_job_does_not_come_back_with_a_restart(bench: Bench) -> None:
    bench.add("job-1", JobState.RUNNING)
    bench.store.set_state("job-1", JobState.CANCELLING, "cancelled by alice")
    assert not bench.store.set_state("job-1", JobState.RUNNING)
    with bench.serving(), watching(bench, "alice") as alice:
        ended = states(alice, "job-1")[-1]
        assert (ended.state, ended.reason) == ("cancelled", "cancelled by alice")
        first = bench.told.get(timeout=WAIT)
        assert first.payload == Outcome("cancelled", "cancelled by alice")


def test_an_end_that_nobody_was_told_of_is_told_at_the_next_start(bench: Bench) -> None:
    bench.add("job-1", JobState.FAILED, "the disk was full")
    with bench.serving():
        assert bench.told.get(timeout=WAIT).payload == Outcome("failed", "the disk was full")
    record = bench.store.job("job-1")
    assert record is not None
    assert record.secret == b""
    with bench.serving():
        pass
    assert bench.told.empty()


def test_a_job_of_another_version_does_not_keep_the_coordinator_from_starting(bench: Bench) -> None:
    fields = {**bench.spec.to_map(), "algorithm": "vertical-forest"}
    bench.store.add_job("job-1", codec.pack(fields), JobState.RUNNING, owner="alice")
    with bench.serving(), watching(bench, "alice") as alice:
        ended = states(alice, "job-1")[-1]
        assert ended.state == "failed"
        assert "vertical-forest" in ended.reason
        job = alice.submit(bench.spec)
        assert isinstance(bench.told.get(timeout=WAIT).payload, Start)
        alice.cancel(job)
        assert states(alice, job)[-1].state == "cancelled"


def test_a_store_that_cannot_be_written_delays_the_end_only(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    set_state, failures = bench.store.set_state, iter(range(2))

    def full(job: str, state: JobState, *rest: object) -> bool:
        if state.final and next(failures, None) is not None:
            raise StoreError("disk full")
        return set_state(job, state, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.store, "set_state", full)
    with bench.serving(), watching(bench, "alice") as alice:
        job = alice.submit(bench.spec)
        alice.cancel(job)
        assert states(alice, job)[-1].state == "cancelled"
    assert next(failures, None) is None


def test_clients_find_their_jobs_again(bench: Bench) -> None:
    with bench.serving(operators=("olga",)), contextlib.ExitStack() as stack:
        alice, bert, olga = (stack.enter_context(watching(bench, name)) for name in ("alice", "bert", "olga"))
        job = alice.submit(bench.spec)
        alice.cancel(job)
        assert states(alice, job)[-1].state == "cancelled"
        assert [line.job for line in alice.jobs().jobs] == [line.job for line in olga.jobs().jobs] == [job]
        assert bert.jobs().jobs == []
        assert alice.jobs(unfinished=True).jobs == []
        shown = alice.show(job)
        assert registry.parse(shown.spec or {}) == bench.spec
        assert next(each.state for each in shown.states or ()) == "submitted"
        with pytest.raises(JobRefused, match="only alice"):
            bert.show(job)


def test_a_long_list_is_asked_for_in_several_messages(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordinator.ledger._LIST_BYTES", 1)
    for number in range(5):
        bench.add(f"job-{number}", JobState.FAILED)
    with bench.serving(), watching(bench, "alice") as alice:
        assert [line.job for line in alice.jobs(4).jobs] == ["job-4", "job-3", "job-2", "job-1"]
        assert alice.jobs(4).more
        assert not alice.jobs(5).more


def test_without_a_coordinator_the_ledger_is_not_waited_for_in_vain(bench: Bench) -> None:
    with watching(bench, "alice") as alice, pytest.raises(ConnectionLost, match="no coordinator answered"):
        alice.jobs(timeout=0.05)


def test_the_time_of_a_job_is_counted_from_its_first_start(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.add("job-1", JobState.SUBMITTED)
    now = time.time()
    with monkeypatch.context() as earlier:
        earlier.setattr("fedbus.store.sqlite.time.time", lambda: now - 1000.0)
        assert bench.store.begin("job-1") == now - 1000.0
    assert bench.store.begin("job-1") == now - 1000.0
    with bench.serving(operators=("alice",)), watching(bench, "alice") as alice:
        alice.cancel("job-1")
        report = states(alice, "job-1")[-1].report
    assert report is not None
    assert report["state"] == "cancelled"
    assert 1000.0 <= report["seconds"] < 1100.0


def test_a_clock_that_was_set_back_makes_no_time_negative(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.add("job-1", JobState.SUBMITTED)
    with monkeypatch.context() as later:
        later.setattr("fedbus.store.sqlite.time.time", lambda: 1e11)
        bench.store.begin("job-1")
    with bench.serving(operators=("alice",)), watching(bench, "alice") as alice:
        alice.cancel("job-1")
        report = states(alice, "job-1")[-1].report
    assert report is not None
    assert 0.0 <= report["seconds"] < 100.0


def test_a_job_whose_record_is_damaged_ends_and_others_go_on(bench: Bench) -> None:
    for job in ("job-1", "job-2"):
        bench.add(job, JobState.RUNNING)
    with contextlib.closing(sqlite3.connect(bench.store.path)) as connection, connection:
        connection.execute("UPDATE jobs SET secret = x'00' WHERE job = 'job-1'")
    with bench.serving(operators=("alice",)), watching(bench, "alice") as alice:
        ended = states(alice, "job-1")[-1]
        assert (ended.state, ended.reason) == ("failed", "coordinator: its store is damaged; its log says more")
        alice.cancel("job-2")
        assert states(alice, "job-2")[-1].state == "cancelled"


def test_a_job_that_cannot_be_read_is_refused_in_a_sentence_and_others_are_listed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add("job-1", JobState.RUNNING)

    def damaged(_: str) -> None:
        raise StoreError("store.db: job-1: damaged")

    with bench.serving(operators=("alice",)), watching(bench, "alice") as alice, monkeypatch.context() as broken:
        broken.setattr(bench.store, "job", damaged)
        with pytest.raises(JobRefused, match="cannot read its ledger of job job-1"):
            alice.show("job-1", WAIT)
        # The next question is answered.
        assert [line.job for line in alice.jobs(timeout=WAIT).jobs] == ["job-1"]


@pytest.mark.parametrize(
    ("job", "party", "expected"),
    [
        ("job-1", "bank", Outcome("failed", "the disk was on fire")),
        (
            "job-3",
            "bank",
            Outcome("failed", "its coordinator has no job job-3: the coordinator's store was lost or replaced"),
        ),
    ],
)
def test_a_party_that_asks_hears_how_its_job_ended(bench: Bench, job: str, party: str, expected: Outcome) -> None:
    bench.add("job-1", JobState.RUNNING)
    bench.store.set_state("job-1", JobState.FAILED, "the disk was on fire")
    bench.store.purge("job-1")
    with bench.serving():
        envelope = Envelope(job, party, "coordinator", Inquire())
        broker = bench.connect(party)
        key = topology.question_key(party, "coordinator")
        broker.publish(Outgoing(topology.DATA, key, sealed(envelope), envelope.id)).result(WAIT)
        broker.close()
        told = bench.told.get(timeout=WAIT)
        assert (told.job, told.payload) == (job, expected)


def test_submissions_and_cancellations_wait_for_room_in_their_order(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_job, full = bench.store.add_job, threading.Event()
    full.set()

    def tried(*arguments: Any) -> bool:
        if full.is_set():
            raise StoreFull("disk full")
        return add_job(*arguments)

    monkeypatch.setattr(bench.store, "add_job", tried)
    with bench.serving(), watching(bench, "alice") as alice:
        job = alice.submit(bench.spec)
        alice.cancel(job)
        event = next(alice.watch(job, WAIT))
        assert isinstance(event, Notice)
        assert "your request waits until it can" in event.text
        full.clear()
        assert states(alice, job)[-1].reason == "cancelled by alice"
    assert bench.dead.empty()


def test_only_a_party_of_an_ended_job_says_that_it_has_seen_it_through(bench: Bench) -> None:
    bench.add("job-1", JobState.RUNNING)
    bench.store.set_state("job-1", JobState.FAILED, "because")
    bench.store.purge("job-1")
    queue_of = topology.job_queue("bank", "job-1")
    bench.admin.declare([queue_of])
    late = Outgoing(topology.DATA, topology.data_key("shop", "bank", "job-1"), b"late", "late")
    bench.admin.publish(late).result(WAIT)

    def depart(party: str) -> None:
        envelope = Envelope("job-1", party, "coordinator", Departed())
        broker = bench.connect(party)
        key = topology.question_key(party, "coordinator")
        broker.publish(Outgoing(topology.DATA, key, sealed(envelope), envelope.id)).result(WAIT)
        broker.close()

    with bench.serving(), watching(bench, "alice") as alice:
        depart("mallory")
        # What is asked after it is answered after it.
        alice.jobs(timeout=WAIT)
        assert queue_of.name in bench.hub.queues
        depart("bank")
        gone = threading.Event()
        while queue_of.name in bench.hub.queues:
            assert not gone.wait(0.01)


def test_a_submission_that_was_entered_and_not_begun_is_begun_when_it_comes_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bench.serving() as service, watching(bench, "alice") as alice:
        announce, failures = service.announce, iter([StoreError("the disk is full")])

        def failing(job: str) -> None:
            if error := next(failures, None):
                raise error
            announce(job)

        monkeypatch.setattr(service, "announce", failing)
        job = alice.submit(bench.spec)
        assert isinstance(bench.told.get(timeout=WAIT).payload, Start)
        alice.cancel(job)
        assert states(alice, job)[-1].state == "cancelled"


def test_a_job_is_begun_as_it_was_entered_whatever_comes_under_its_id(bench: Bench) -> None:
    with bench.serving(), watching(bench, "alice") as alice:
        bench.add("job-1", JobState.SUBMITTED)
        bench.request(topology.SUBMIT, "job-1", "mallory", Submit({"algorithm": "none"}, bytes(64)))
        told = bench.told.get(timeout=WAIT).payload
        assert isinstance(told, Start)
        assert told.spec["algorithm"] == bench.spec.algorithm
        alice.cancel("job-1")
        assert states(alice, "job-1")[-1].state == "cancelled"
