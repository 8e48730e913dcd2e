"""The jobs in hand of a coordinator or a party: begun, interrupted, waited for, given up where they cannot be read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedbus import codec, topology
from fedbus.broker.memory.broker import MemoryHub
from fedbus.errors import JobFailed
from fedbus.job import JobState
from fedbus.messages.control import Accepted
from fedbus.service import runs
from fedbus.service.runs import Run, Runs
from fedbus.session.events import Events
from fedbus.store.sqlite import SqliteStore
from keyring import credentials, seals

SPEC = {
    "name": "test",
    "algorithm": "vertical-linear",
    "guest": {"party": "shop", "dataset": "rows", "label": "y"},
    "hosts": [{"party": "bank", "dataset": "rows"}],
}
WAIT = 10.0


class Bench:
    """A store with two jobs that were interrupted, and what became of each job in hand."""

    def __init__(self, folder: Path) -> None:
        self.store = SqliteStore(folder / "bank.db")
        self.broker = MemoryHub().connect("bank")
        self.ended: list[str] = []
        for job in ("job-1", "job-2"):
            self.broker.declare([topology.job_queue("bank", job)])
            self.store.add_job(job, codec.pack(SPEC), JobState.RUNNING)

    def runs(self, work: Callable[[Run], None]) -> Runs[Run]:
        return Runs(
            credentials("bank"),
            self.store,
            self.broker,
            Events(self.broker, seals("bank")),
            verify_sender=False,
            make=Run,
            work=work,
            refuses="this version refuses it",
            ended=self.ended.append,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.broker.close()
    made.store.close()


def test_a_stop_interrupts_what_waits_and_leaves_the_jobs_for_the_next_start(bench: Bench) -> None:
    waiting, reasons = threading.Semaphore(0), dict[str, str]()

    def wait(run: Run) -> None:
        run.session.open()
        waiting.release()
        with pytest.raises(JobFailed) as raised:
            run.session.recv("shop", Accepted)
        reasons[run.job] = str(raised.value)

    made = bench.runs(wait)
    made.take_up(bench.store.unfinished())
    assert all(waiting.acquire(timeout=WAIT) for _ in range(2))
    assert made.get("job-1") is not None
    made.stop()
    assert made.stopping.is_set()
    assert reasons == dict.fromkeys(("job-1", "job-2"), "the process was stopped")
    assert made.get("job-1") is made.get("job-2") is None
    assert [record.job for record in bench.store.unfinished()] == ["job-1", "job-2"]


def test_a_stop_waits_no_longer_than_its_grace_for_what_cannot_be_interrupted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "GRACE_SECONDS", 0.01)
    may_end, ended = threading.Event(), threading.Event()

    def compute(_: Run) -> None:
        assert may_end.wait(WAIT)
        ended.set()

    made = bench.runs(compute)
    made.begin("job-1")
    made.stop()
    assert not ended.is_set()
    may_end.set()
    made.join()
    assert ended.is_set()
    assert made.get("job-1") is None


def test_after_an_internal_error_a_job_is_as_it_was_and_may_be_begun_again(bench: Bench) -> None:
    sessions = []

    def fail(run: Run) -> None:
        run.session.open()
        sessions.append(run.session)
        raise ZeroDivisionError

    made = bench.runs(fail)
    for _ in range(2):
        made.begin("job-1")
        made.join()
        assert made.get("job-1") is None
    assert len(sessions) == 2
    record = bench.store.job("job-1")
    assert record is not None
    assert record.state is JobState.RUNNING
    assert bench.ended == []


def test_a_job_that_this_version_cannot_read_fails_with_the_reason_and_is_told(bench: Bench) -> None:
    bench.store.add_job("job-3", codec.pack({**SPEC, "algorithm": "vertical-forest"}), JobState.RUNNING)
    made = bench.runs(lambda run: pytest.fail(f"{run.job} runs"))
    made.begin("job-3")
    assert made.get("job-3") is None
    record = bench.store.job("job-3")
    assert record is not None
    assert (record.state, record.secret) == (JobState.FAILED, b"")
    assert record.reason.startswith("this version refuses it: job")
    assert "vertical-forest" in record.reason
    assert bench.ended == ["job-3"]
