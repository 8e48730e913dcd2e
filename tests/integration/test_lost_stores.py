"""A store that is gone, behind or damaged when its process starts again: its jobs end at once, with whose and why."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fedbus.client import Client
from fedbus.job import JobState
from fedbus.store.sqlite import SqliteStore
from processes import WAIT, Processes, follow, small

Start = Callable[..., Processes]


def delete(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def delete_log(path: Path) -> None:
    path.with_name(path.name + "-wal").unlink()


def damage_checkpoint(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE checkpoints SET state = substr(state, 2)")
    connection.close()


def damage_ledger(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE jobs SET reason = 'x'")
    connection.close()


def has_more_entries(mark: Path) -> None:
    """Wait until a store has entries that it counts as done: what its log begins with may be none yet."""
    deadline, before = time.monotonic() + WAIT, mark.read_bytes()
    while mark.read_bytes() == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def stopped_and_changed(running: Processes, name: str, change: Callable[[Path], None]) -> Callable[[], None]:
    def act() -> None:
        # What is there at a start is in the file itself, and what comes after it in the log.
        running.end(name)
        running.start(name)
        has_more_entries(running.federation.folder / "state" / f"{name}.db.mark")
        running.end(name, signal.SIGKILL)
        change(running.federation.folder / "state" / f"{name}.db")
        running.start(name)

    return act


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (delete, "its store has no job {job}: it was lost or replaced"),
        (delete_log, "its store lost its last "),
        (damage_checkpoint, "bank.db: a record of job {job} (table checkpoints) is damaged"),
        (damage_ledger, "its store is damaged; its log says more"),
    ],
)
def test_a_party_whose_store_cannot_go_on_ends_the_job_at_once(
    tmp_path: Path, processes: Start, client: Client, change: Callable[[Path], None], reason: str
) -> None:
    federation = small(tmp_path, max_epochs=2000)
    running = processes(federation)
    running.start_all()
    job = client.submit(federation.spec())
    # The party that lost its store may not know that there was an end.
    report = follow(client, job, {3: stopped_and_changed(running, "bank", change)}, parties=["shop"])
    assert report["state"] == "failed"
    assert report["reason"].startswith("bank: ")
    assert reason.format(job=job) in report["reason"]
    if change is not delete:
        assert "bank.db" in running.log("bank")
    # And the party takes part in the next job.
    federation.params["max_epochs"] = 2
    federation.write_job()
    assert follow(client, client.submit(federation.spec()))["state"] == "succeeded"


def test_parties_end_a_job_that_their_coordinator_lost(tmp_path: Path, processes: Start, client: Client) -> None:
    federation = small(tmp_path, max_epochs=2000)
    running = processes(federation)
    running.start_all()
    job = client.submit(federation.spec())
    replace = stopped_and_changed(running, "coordinator", delete)
    for event in client.watch(job, WAIT):
        if getattr(event, "round", 0) == 3:
            replace()
            break
    assert not client.wait_ended(job, ["shop", "bank"], WAIT)
    running.end_all()
    for name in ("shop", "bank"):
        with SqliteStore(tmp_path / "state" / f"{name}.db") as store:
            record = store.job(job)
            assert record is not None
            assert record.state is JobState.FAILED
            assert f"its coordinator has no job {job}" in record.reason
            assert store.unfinished() == []
