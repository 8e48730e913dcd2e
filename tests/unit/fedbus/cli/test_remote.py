"""`fedbus cancel`, `watch` and `show` of jobs in every state, and of none: what is said, and with which exit status."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench import WAIT, Bench, watching

from fedbus.cli import remote
from fedbus.cli.app import _failed
from fedbus.cli.display import Display
from fedbus.client import Client
from fedbus.errors import FedbusError, JobRefused, NotFound
from fedbus.job import JobState
from fedbus.messages.control import StateChanged
from fedbus.statuses import Status


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.admin.close()
    bench.store.close()


def test_a_running_job_is_cancelled(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    with bench.serving(), watching(bench, "alice") as alice:
        job = alice.submit(bench.spec)
        remote.cancel_on(alice, job, WAIT)
        assert f"{job}: cancelled" in capsys.readouterr().out.splitlines()
    record = bench.store.job(job)
    assert record is not None
    assert record.state == JobState.CANCELLED


@pytest.mark.parametrize(
    ("state", "reason", "told"),
    [
        (JobState.CANCELLED, "cancelled by alice", "cancelled (cancelled by alice)"),
        (JobState.SUCCEEDED, "", "succeeded"),
        (JobState.FAILED, "bank: its disk is full", "failed (bank: its disk is full)"),
    ],
)
def test_a_job_that_has_ended_is_said_to_have(
    bench: Bench, capsys: pytest.CaptureFixture[str], state: JobState, reason: str, told: str
) -> None:
    bench.add("job-1", state, reason)
    with bench.serving(), watching(bench, "alice") as alice:
        with pytest.raises(JobRefused) as caught:
            remote.cancel_on(alice, "job-1", WAIT)
        assert str(caught.value) == f"job job-1 has ended already: {told}; there is nothing to cancel"
        assert _failed(caught.value) == Status.JOB
    assert "job-1: cancelled" not in capsys.readouterr().out


def test_who_may_not_cancel_is_told_so(bench: Bench) -> None:
    with bench.serving(), watching(bench, "alice") as alice, watching(bench, "mallory") as mallory:
        job = alice.submit(bench.spec)
        # Whose job it is, and that there is one, is none of her business.
        with pytest.raises(NotFound, match=f"no job {job} of yours; `fedbus jobs` lists those"):
            remote.cancel_on(mallory, job, WAIT)
        alice.cancel(job)


def test_a_cancellation_waits_for_a_coordinator(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    with watching(bench, "alice") as alice:
        job = alice.submit(bench.spec)
        remote.cancel_on(alice, job, 0.1)
        assert f"the cancellation of {job} is queued" in capsys.readouterr().err
        with bench.serving():
            ended = [event for event in alice.watch(job, WAIT) if isinstance(event, StateChanged)][-1]
            assert (ended.state, ended.reason) == ("cancelled", "cancelled by alice")


@pytest.mark.parametrize("command", ["watch", "cancel", "show", "result"])
def test_a_job_that_nobody_has_is_not_found(bench: Bench, command: str) -> None:
    def ask(client: Client) -> Any:
        if command == "watch":
            return remote._finish(remote._followed(client, "no-such-job"), None)
        if command == "cancel":
            return remote.cancel_on(client, "no-such-job", WAIT)
        return client.show("no-such-job", WAIT) if command == "show" else client.result("no-such-job", WAIT)

    with bench.serving(), watching(bench, "alice") as alice:
        with pytest.raises(NotFound, match="this coordinator has no job no-such-job") as caught:
            ask(alice)
        assert _failed(caught.value) == Status.NOT_FOUND


def test_a_job_that_somebody_else_has_is_refused(bench: Bench) -> None:
    bench.add("job-1", JobState.CANCELLED)
    with bench.serving(), watching(bench, "mallory") as mallory:
        with pytest.raises(FedbusError, match="mallory may not see job job-1") as caught:
            mallory.show("job-1", WAIT)
        assert _failed(caught.value) == Status.JOB


def test_who_leaves_a_watch_is_told_that_the_job_goes_on(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = threading.Event()

    def interrupt(*_: Any) -> None:
        shown.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(Display, "show", interrupt)
    with bench.serving(), watching(bench, "alice") as alice:
        job = alice.submit(bench.spec)
        with pytest.raises(KeyboardInterrupt), remote.going_on(job):
            remote._followed(alice, job)
        assert shown.is_set()
        told = capsys.readouterr().err
        assert f"note: the job goes on; `fedbus watch {job}` follows it again, `fedbus cancel {job}` ends it." in told
        alice.cancel(job)
