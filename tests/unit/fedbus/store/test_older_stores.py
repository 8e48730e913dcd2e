"""A store that the program before this one left: taken over where its jobs have ended, refused where some have not."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from fedbus import codec, models
from fedbus.errors import DecodeError, StoreError
from fedbus.job import JobState
from fedbus.store.reader import Reader
from fedbus.store.sqlite import SqliteStore
from fedbus.store.versions import take_over
from places import ROOT

STORES = ROOT / "tests" / "vectors" / "stores"
JOB = "test-3fe5f6889c11460a"
# A job like the one that is there, under another name and later.
_ENTER = """INSERT INTO jobs SELECT ?1, spec, 'running', reason, report, secret, owner, created_at + ?2, updated_at,
    started_at, digest FROM jobs ORDER BY created_at LIMIT 1"""


def made(path: Path, kind: str) -> Path:
    """A store of format 2 as its program left it."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript((STORES / f"format-2-{kind}.sql").read_text())
    return path


def enter(connection: sqlite3.Connection, *jobs: str) -> None:
    for number, job in enumerate(jobs, 1):
        connection.execute(_ENTER, (job, number))
    connection.commit()


def version(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        ((found,),) = connection.execute("PRAGMA user_version")
    return int(found)


def test_a_store_whose_jobs_have_ended_goes_on_with_its_ledger_and_its_models(tmp_path: Path) -> None:
    path = made(tmp_path / "bank.db", "ended")
    with SqliteStore(path) as store:
        record = store.job(JOB)
        assert record is not None
        assert (record.state, record.secret, store.lost) == (JobState.SUCCEEDED, b"", "")
        assert [each.state for each in store.history(JOB)] == [JobState.RUNNING, JobState.SUCCEEDED]
        share = store.model(JOB)
        assert share is not None
        assert models.unpack(share, 0.0, where=str(path)).fields["job"] == JOB
        store.add_job("job-2", b"spec", JobState.RUNNING)
        store.put_proof("job-2", "shop", b"proof")
    assert version(path) == 3
    # Its own jobs that have not ended are none of the program before.
    with SqliteStore(path) as store:
        assert [each.job for each in store.unfinished()] == ["job-2"]
        assert store.proofs("job-2") == {"shop": b"proof"}


def test_models_of_an_older_store_are_read_whether_its_jobs_have_ended_or_not(tmp_path: Path) -> None:
    with Reader(made(tmp_path / "ended.db", "ended")) as reader:
        assert reader.models() == [JOB]
        assert reader.model(JOB) is not None
    with Reader(made(tmp_path / "unfinished.db", "unfinished")) as reader:
        assert reader.models() == []
    assert version(tmp_path / "ended.db") == version(tmp_path / "unfinished.db") == 2


def test_a_checkpoint_of_a_job_that_has_not_ended_is_refused_with_what_to_do_and_left_as_it_is(tmp_path: Path) -> None:
    path = made(tmp_path / "bank.db", "unfinished")
    before = path.read_bytes()
    with pytest.raises(StoreError) as raised:
        SqliteStore(path)
    assert str(raised.value).startswith(
        f"{path}: fedbus 0.1.0 began {JOB} in this store, which did not end, and fedbus"
    )
    assert "Start fedbus 0.1.0 again at all participants, wait until the jobs have ended" in str(raised.value)
    assert "or end each by `fedbus cancel JOB`" in str(raised.value)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["bank.db"]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert list(connection.execute("SELECT job, round FROM checkpoints")) == [(JOB, 4)]
        bodies = [body for (body,) in connection.execute("SELECT body FROM outbox")]
    # Why: what its program kept to send again cannot be read.
    assert len(bodies) > 5
    for body in bodies:
        with pytest.raises(DecodeError, match="unknown version '3'; this process reads 4"):
            codec.decode(body)


def test_of_many_jobs_a_few_are_named_and_the_others_counted(tmp_path: Path) -> None:
    path = made(tmp_path / "bank.db", "unfinished")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        enter(connection, "job-1", "job-2", "job-3", "job-4")
    with pytest.raises(StoreError, match=rf"began {JOB}, job-1, job-2 and 2 more in this store"):
        SqliteStore(path)


def test_a_job_that_is_in_the_log_only_is_found(tmp_path: Path) -> None:
    path = made(tmp_path / "there.db", "ended")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        enter(connection, "job-1")
        # As it is where its process was killed.
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{tmp_path / 'killed.db'}{suffix}")
    with contextlib.closing(sqlite3.connect(f"file:{tmp_path / 'killed.db'}?immutable=1", uri=True)) as connection:
        assert list(connection.execute("SELECT job FROM jobs")) == [(JOB,)]
    with pytest.raises(StoreError, match=r"fedbus 0\.1\.0 began job-1 in this store"):
        SqliteStore(tmp_path / "killed.db")


def test_a_store_that_was_taken_over_in_its_log_only_is_one_of_this_version(tmp_path: Path) -> None:
    path = made(tmp_path / "there.db", "ended")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        assert take_over(connection.cursor())
        enter(connection, "job-1")
        # As it is where a reader kept the log from being emptied until the process was killed.
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{tmp_path / 'killed.db'}{suffix}")
    assert (tmp_path / "killed.db").read_bytes()[60:64] == (2).to_bytes(4, "big")
    with SqliteStore(tmp_path / "killed.db") as store:
        assert list(store.damaged()) == ["job-1"]
