"""The coordinator's queue and ledger: who may ask for what, and what a restart makes of each state of a job."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench import WAIT, Bench, states, watching

from fedbus import codec, jobs, topology
from fedbus.errors import ConnectionLost, JobRefused, StoreError
from fedbus.jobs import JobState
from fedbus.messages import Cancel, Message, Outcome, Query, Start, StateChanged, Submit


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.admin.close()
    bench.store.close()


def test_only_the_owner_and_operators_may_cancel(bench: Bench) -> None:
    with bench.serving(operators=("olga",)), watching(bench, "alice") as alice, watching(bench, "mallory") as mallory:
        for canceller, expected in ((alice, "alice"), ("olga", "olga")):
            job = alice.submit(bench.spec)
            mallory.cancel(job)
            seen = alice.watch(job, WAIT)
            refused = next(event for event in seen if isinstance(event, StateChanged) and "mallory" in event.reason)
            assert refused.state in ("submitted", "starting")
            if isinstance(canceller, str):
                bench.request(topology.CANCEL, job, canceller, Cancel())
            else:
                canceller.cancel(job)
            ended = [event for event in seen if isinstance(event, StateChanged)][-1]
            assert (ended.state, ended.reason) == ("cancelled", f"cancelled by {expected}")


@pytest.mark.parametrize(
    ("key", "message", "sender", "to", "reason"),
    [
        (topology.CANCEL, Cancel(), "alice", "", "cancel request of alice by mallory"),
        (topology.SUBMIT, Submit({}), "alice", "", "submit request of alice by mallory"),
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
    bench.store.add_job("job-1", codec.pack(fields), JobState.RUNNING)
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
        assert jobs.parse(shown.spec or {}) == bench.spec
        assert next(each.state for each in shown.states or ()) == "submitted"
        with pytest.raises(JobRefused, match="only alice"):
            bert.show(job)


def test_without_a_coordinator_the_ledger_is_not_waited_for_in_vain(bench: Bench) -> None:
    with watching(bench, "alice") as alice, pytest.raises(ConnectionLost, match="no coordinator answered"):
        alice.jobs(timeout=0.05)
