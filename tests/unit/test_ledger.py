"""What clients are told of the coordinator's ledger, and by whom it may be seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.ledger import Ledger
from fedbus import codec
from fedbus.jobs import JobState
from fedbus.messages import ListJobs, Progress
from fedbus.store import Store
from federation import synthetic

HISTORY = [(JobState.STARTING, ""), (JobState.RUNNING, ""), (JobState.FAILED, "shop left")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    federation = synthetic(tmp_path, max_epochs=30)
    federation.write_job()
    with Store(tmp_path / "coordinator.db") as store:
        for job, owner in (("first", "alice"), ("second", "bert"), ("third", "alice")):
            store.add_job(job, codec.pack(federation.spec().to_map()), JobState.SUBMITTED, owner=owner)
        yield store


def ledger(store: Store, latest: Progress | None = None) -> Ledger:
    return Ledger(store, lambda user: user == "olga", lambda _: latest)


def test_a_client_sees_its_own_jobs_and_an_operator_all_of_them_newest_first(store: Store) -> None:
    def seen(user: str, limit: int = 10) -> tuple[list[str], bool]:
        found = ledger(store).list(user, ListJobs(limit, unfinished=False))
        return [line.job for line in found.jobs], found.more

    assert seen("alice") == (["third", "first"], False)
    assert seen("olga") == (["third", "second", "first"], False)
    assert seen("olga", limit=2) == (["third", "second"], True)
    assert seen("mallory") == ([], False)


def test_jobs_that_ended_can_be_left_out(store: Store) -> None:
    store.set_state("third", JobState.CANCELLED)
    found = ledger(store).list("alice", ListJobs(10, unfinished=True))
    assert [line.job for line in found.jobs] == ["first"]


def test_a_job_that_ended_says_how_far_it_came(store: Store) -> None:
    store.set_state("third", JobState.SUCCEEDED, report=codec.pack({"epochs": 9, "rounds": 18}))
    (line, _) = ledger(store).list("alice", ListJobs(10, unfinished=False)).jobs
    assert (line.done, line.most, line.unit) == (9, 30, "epoch")


def test_a_line_says_how_far_the_job_is(store: Store) -> None:
    store.set_state("first", JobState.RUNNING)
    (line,) = ledger(store, Progress(14, 7, 1.0, 0.1)).list("alice", ListJobs(1, unfinished=False)).jobs
    assert (line.done, line.most, line.unit) == (7, 30, "epoch")
    assert ledger(store).list("alice", ListJobs(1, unfinished=False)).jobs[0].done is None


def test_a_job_is_shown_with_its_states_and_its_report_to_its_owner(store: Store) -> None:
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


def test_a_refused_change_of_state_leaves_no_trace(store: Store) -> None:
    store.set_state("first", JobState.CANCELLED)
    assert not store.set_state("first", JobState.RUNNING)
    assert [each.state for each in store.history("first")] == ["submitted", "cancelled"]


@pytest.mark.parametrize(
    ("user", "job", "reason"), [("bert", "first", "only alice and"), ("alice", "lost", "no job lost")]
)
def test_what_is_not_shown_is_refused_with_a_reason(store: Store, user: str, job: str, reason: str) -> None:
    shown = ledger(store).show(user, job)
    assert reason in shown.refusal
    assert (shown.line, shown.spec, shown.states, shown.report) == (None, None, None, None)


def test_a_job_of_another_version_is_listed_too(store: Store) -> None:
    store.add_job("later", codec.pack({"algorithm": "vertical-forest"}), JobState.FAILED, "unknown", "alice")
    (line,) = ledger(store).list("alice", ListJobs(1, unfinished=False)).jobs
    assert (line.job, line.algorithm, line.most) == ("later", "vertical-forest", None)
