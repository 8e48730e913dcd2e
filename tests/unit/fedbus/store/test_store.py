"""The store keeps what it took across restarts, once, and drops it when it is told that it may."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fedbus.errors import StoreInUse
from fedbus.job import JobState
from fedbus.store.records import Checkpoint, StoredMessage
from fedbus.store.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "bank.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(path) as store:
        store.add_job("j", b"spec", JobState.RUNNING)
        yield store


def message(
    number: int, *, round_: int = 0, peer: str = "shop", kind: str = "forward", chunk: int = 0
) -> StoredMessage:
    return StoredMessage(f"id{number}", "j", peer, kind, round_, 0, chunk, b"body%d" % number)


def test_a_message_is_taken_once(store: SqliteStore) -> None:
    store.write("j", received=[message(1)])
    store.write("j", received=[message(1)])
    assert [m.id for m in store.inbox("j")] == ["id1"]


def test_everything_survives_a_restart(path: Path) -> None:
    with SqliteStore(path) as first:
        first.add_job("j", b"spec", JobState.RUNNING)
        secret = first.job("j").secret  # type: ignore[union-attr]
        first.write(
            "j", received=[message(1, round_=2)], posted=[message(2, round_=2)], checkpoint=Checkpoint(1, b"state")
        )
        first.save_model("j", b"share")
    with SqliteStore(path) as second:
        assert second.job("j").secret == secret  # type: ignore[union-attr]
        assert list(second.inbox("j")) == [message(1, round_=2)]
        assert list(second.outbox("j")) == [message(2, round_=2)]
        assert second.last_checkpoint("j") == (1, b"state")
        assert second.model("j") == b"share"


def test_secrets_differ_between_jobs_and_are_long_enough(store: SqliteStore) -> None:
    store.add_job("k", b"", JobState.RUNNING)
    found = {record.secret for record in store.jobs()}
    assert len(found) == 2
    assert all(len(secret) == 32 for secret in found)


def test_a_job_is_entered_once(store: SqliteStore) -> None:
    secret = store.job("j").secret  # type: ignore[union-attr]
    assert not store.add_job("j", b"other", JobState.SUBMITTED)
    assert store.job("j").secret == secret  # type: ignore[union-attr]


def test_a_final_state_is_final(store: SqliteStore) -> None:
    assert store.set_state("j", JobState.FAILED, "why")
    assert not store.set_state("j", JobState.SUCCEEDED)
    record = store.job("j")
    assert record is not None
    assert (record.state, record.reason) == (JobState.FAILED, "why")
    assert store.count_jobs()[JobState.FAILED] == 1


def test_a_checkpoint_replaces_the_last(store: SqliteStore) -> None:
    store.write("j", checkpoint=Checkpoint(1, b"one", {"first": b"1", "second": b"2"}))
    store.write("j", checkpoint=Checkpoint(2, b"two", {"second": b"3"}))
    assert store.last_checkpoint("j") == (2, b"two")
    assert (store.blob("j", "first"), store.blob("j", "second")) == (b"1", b"3")


def test_what_a_checkpoint_covers_is_passed_over_and_forgotten(store: SqliteStore) -> None:
    for number, round_ in enumerate((1, 2, 3)):
        store.write("j", received=[message(number, round_=round_)])
    assert [m.round for m in store.inbox("j", 2)] == [3]
    store.forget("j", 2, {})
    assert [m.round for m in store.inbox("j")] == [3]


def test_the_outbox_is_trimmed_for_one_recipient(store: SqliteStore) -> None:
    store.write("j", posted=[message(1, round_=1, peer="shop")])
    store.write("j", posted=[message(2, round_=2, peer="shop")])
    store.write("j", posted=[message(3, round_=1, peer="bank")])
    store.forget("j", None, {"shop": 1})
    assert {m.id for m in store.outbox("j")} == {"id2", "id3"}


def test_chunks_come_back_in_order(store: SqliteStore) -> None:
    for chunk in (2, 0, 1):
        store.write("j", posted=[message(chunk, chunk=chunk)])
    store.write("j", posted=[message(9, kind="verdict")])
    assert [m.chunk for m in store.outbox("j", ("shop", "forward", 0, 0))] == [0, 1, 2]


def test_what_was_posted_is_not_posted_anew(store: SqliteStore) -> None:
    assert store.write("j", posted=[message(1)]) == [True]
    other = StoredMessage("id1", "j", "shop", "forward", 0, 0, 0, b"another encryption")
    assert store.write("j", posted=[other]) == [False]
    assert store.posted("j", "id1") == b"body1"


def test_an_ended_job_leaves_no_secret_behind(store: SqliteStore, path: Path) -> None:
    store.write("j", received=[message(1)])
    store.write("j", posted=[message(2)])
    store.write("j", checkpoint=Checkpoint(0, b"state"))
    store.purge("j")
    assert store.job("j").secret == b""  # type: ignore[union-attr]
    assert not list(store.inbox("j"))
    assert not list(store.outbox("j"))
    assert store.last_checkpoint("j") is None


def fill(store: SqliteStore) -> list[bytes]:
    """Give job `j` all that may be secret, small and larger than a page; returns what no file may hold afterwards."""
    record = store.job("j")
    assert record is not None
    found = [record.secret]
    for number in range(4):
        found += [secrets.token_bytes(32), secrets.token_bytes(32)]
        body = found[-2] + bytes(20_000 * number) + found[-1]
        store.write("j", received=[replace(message(10 + number), body=body)])
        store.write("j", posted=[replace(message(20 + number), body=body[::-1])])
        store.write("j", checkpoint=Checkpoint(-1, body))
    return found + [secret[::-1] for secret in found]


def held(path: Path, found: list[bytes]) -> int:
    """How many of them the files of the store hold."""
    files = [file.read_bytes() for file in path.parent.iterdir()]
    return sum(any(secret in file for file in files) for secret in found)


def test_the_secrets_of_an_ended_job_are_in_no_file_while_the_store_is_open(store: SqliteStore, path: Path) -> None:
    found = fill(store)
    assert held(path, found) > 10
    store.add_job("k", b"spec", JobState.RUNNING)
    store.set_state("j", JobState.SUCCEEDED)
    store.purge("j")
    assert held(path, found) == 0
    record = store.job("k")
    assert record is not None
    assert len(record.secret) == 32


def test_an_ended_job_is_unfinished_until_it_is_purged(store: SqliteStore, path: Path) -> None:
    found = fill(store)
    store.set_state("j", JobState.SUCCEEDED)
    store.close()
    assert held(path, found) > 0
    with SqliteStore(path) as again:
        assert [(record.job, record.state) for record in again.unfinished()] == [("j", JobState.SUCCEEDED)]
        again.purge("j")
        assert again.unfinished() == []
        assert held(path, found) == 0


def test_a_reader_does_not_keep_a_job_from_being_purged(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedbus.store.database._CHECKPOINT_SECONDS", 0.0)
    found = fill(store)
    with contextlib.closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM jobs").fetchall()
        store.purge("j")
        assert store.job("j").secret == b""  # type: ignore[union-attr]
    store.purge("k")
    assert held(path, found) == 0


def test_one_process_at_a_time(store: SqliteStore, path: Path) -> None:
    with pytest.raises(StoreInUse, match=r"bank\.db: another process"):
        SqliteStore(path)
    store.close()
    SqliteStore(path).close()


def test_only_the_owner_may_read(path: Path) -> None:
    names = ["bank.db", "bank.db-shm", "bank.db-wal", "bank.db.mark"]
    # Made anew, and where a backup or a careless umask had opened them to others.
    for _ in range(2):
        with SqliteStore(path) as store:
            store.add_job("j", b"spec", JobState.RUNNING)
            files = sorted(path.parent.iterdir())
            assert [file.name for file in files] == names
            assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 4
        for file in path.parent.iterdir():
            file.chmod(0o644)
