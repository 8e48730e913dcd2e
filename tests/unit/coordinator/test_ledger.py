"""What clients are told of the coordinator's ledger, and by whom it may be seen."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.ledger import Ledger, told_report
from fedbus import codec
from fedbus.job import JobState
from fedbus.messages.control import Progress
from fedbus.messages.envelope import Envelope
from fedbus.messages.ledger import ListJobs
from fedbus.store.sqlite import SqliteStore
from federation import synthetic

HISTORY = [(JobState.STARTING, ""), (JobState.RUNNING, ""), (JobState.FAILED, "shop left")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    federation = synthetic(tmp_path, max_epochs=30)
    federation.write_job()
    with SqliteStore(tmp_path / "coordinator.db") as store:
        for job, owner in (("first", "alice"), ("second", "bert"), ("third", "alice")):
            store.add_job(job, codec.pack(federation.spec().to_map()), JobState.SUBMITTED, owner=owner)
        yield store


def ledger(store: SqliteStore, latest: Progress | None = None) -> Ledger:
    return Ledger(store, lambda user: user == "olga", lambda _: latest)


def test_a_client_sees_its_own_jobs_and_an_operator_all_of_them_newest_first(store: SqliteStore) -> None:
    def seen(user: str, limit: int = 10) -> tuple[list[str], bool]:
        found = ledger(store).list(user, ListJobs(limit, unfinished=False))
        return [line.job for line in found.jobs], found.more

    assert seen("alice") == (["third", "first"], False)
    assert seen("olga") == (["third", "second", "first"], False)
    assert seen("olga", limit=2) == (["third", "second"], True)
    assert seen("mallory") == ([], False)


def test_a_damaged_record_is_left_out_and_hides_no_older_job(store: SqliteStore) -> None:
    with contextlib.closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("UPDATE jobs SET secret = x'00' WHERE job = 'second'")
    found = ledger(store).list("olga", ListJobs(1, unfinished=False))
    assert ([line.job for line in found.jobs], found.more) == (["third"], True)
    last = found.jobs[-1]
    found = ledger(store).list("olga", ListJobs(1, unfinished=False, before=(last.submitted, last.job)))
    assert ([line.job for line in found.jobs], found.more) == (["first"], False)


def test_jobs_that_ended_can_be_left_out(store: SqliteStore) -> None:
    store.set_state("third", JobState.CANCELLED)
    found = ledger(store).list("alice", ListJobs(10, unfinished=True))
    assert [line.job for line in found.jobs] == ["first"]


def test_a_job_that_ended_says_how_far_it_came(store: SqliteStore) -> None:
    store.set_state("third", JobState.SUCCEEDED, report=codec.pack({"epochs": 9, "rounds": 18}))
    (line, _) = ledger(store).list("alice", ListJobs(10, unfinished=False)).jobs
    assert (line.done, line.most, line.unit) == (9, 30, "epoch")


def test_a_line_says_how_far_the_job_is(store: SqliteStore) -> None:
    store.set_state("first", JobState.RUNNING)
    (line,) = ledger(store, Progress(14, 7, 1.0, 0.1)).list("alice", ListJobs(1, unfinished=False)).jobs
    assert (line.done, line.most, line.unit) == (7, 30, "epoch")
    assert ledger(store).list("alice", ListJobs(1, unfinished=False)).jobs[0].done is None


def test_a_job_is_shown_with_its_states_and_its_report_to_its_owner(store: SqliteStore) -> None:
    report = {"epochs": 12, "state": "failed"}
    for state, reason in HISTORY:
        store.set_state("first", state, reason, codec.pack(report) if state.final else None)
    shown = ledger(store).show("alice", "first")
    assert shown.line is not None
    assert shown.spec is not None
    assert shown.states is not None
    assert (shown.line.state, shown.line.reason, shown.line.done) == ("failed", "shop left", 12)
    assert shown.spec["params"]["max_epochs"] == 30
    assert shown.report == report
    assert [(each.state, each.reason) for each in shown.states] == [("submitted", ""), *HISTORY]
    assert shown.line.since == shown.states[-1].at >= shown.states[0].at == shown.line.submitted
    assert ledger(store).show("olga", "first").line == shown.line


def test_a_refused_change_of_state_leaves_no_trace(store: SqliteStore) -> None:
    store.set_state("first", JobState.CANCELLED)
    assert not store.set_state("first", JobState.RUNNING)
    assert [each.state for each in store.history("first")] == ["submitted", "cancelled"]


@pytest.mark.parametrize(
    ("user", "job", "reason"), [("bert", "first", "only alice and"), ("alice", "lost", "no job lost")]
)
def test_what_is_not_shown_is_refused_with_a_reason(store: SqliteStore, user: str, job: str, reason: str) -> None:
    shown = ledger(store).show(user, job)
    assert reason in shown.refusal
    assert (shown.line, shown.spec, shown.states, shown.report) == (None, None, None, None)


def test_a_job_of_another_version_is_listed_too(store: SqliteStore) -> None:
    store.add_job("later", codec.pack({"algorithm": "vertical-forest"}), JobState.FAILED, "unknown", "alice")
    (line,) = ledger(store).list("alice", ListJobs(1, unfinished=False)).jobs
    assert (line.job, line.algorithm, line.most) == ("later", "vertical-forest", None)


def test_a_list_that_does_not_fit_one_message_comes_in_several(store: SqliteStore) -> None:
    record = store.job("first")
    assert record is not None
    for number in range(1000):
        store.add_job(f"job-{number:04}", record.spec, JobState.FAILED, 2000 * "\N{SNOWMAN}\N{GHOST}", "carol")
    seen: list[str] = []
    wanted, pages = ListJobs(1000, unfinished=False), 0
    while True:
        found = ledger(store).list("carol", wanted)
        assert len(codec.encode(Envelope("list-1", "coordinator", "carol", found))) <= codec.MAX_BODY_BYTES
        seen += [line.job for line in found.jobs]
        pages += 1
        if not found.more:
            break
        wanted = ListJobs(1000, unfinished=False, before=(found.jobs[-1].submitted, found.jobs[-1].job))
    assert pages > 1
    assert seen == [f"job-{number:04}" for number in reversed(range(1000))]


def test_a_report_that_does_not_fit_one_message_is_cut_and_says_so(store: SqliteStore) -> None:
    losses = [float(number) for number in range(400_000)]
    store.set_state("first", JobState.FAILED, report=codec.pack({"state": "failed", "loss": losses, "rounds": 400_000}))
    shown = ledger(store).show("alice", "first")
    assert len(codec.encode(Envelope("first", "coordinator", "alice", shown))) <= codec.MAX_BODY_BYTES
    assert shown.report is not None
    assert shown.report["loss"] == losses[:500] + losses[-500:]
    assert shown.report["rounds"] == 400_000
    assert "of loss only the first and the last 500 values" in shown.report["warnings"][0]
    record = store.job("first")
    assert record is not None
    # What is announced has room for more.
    assert told_report(record) == {"state": "failed", "loss": losses, "rounds": 400_000}
