"""A store whose files are not what they were: bits that flipped, a log that is gone, an older copy, another's file.

Whatever happened, what a store gives is what was written, or it says that it is damaged; nothing else is raised.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedbus import codec
from fedbus.errors import StoreError, StoreInUse, StoreLost
from fedbus.job import JobState
from fedbus.store.records import Checkpoint, StoredMessage
from fedbus.store.sqlite import SqliteStore

COPIES = 200


def message(number: int, job: str = "j", size: int = 700) -> StoredMessage:
    body = random.Random(f"{job}{number}").randbytes(size)
    return StoredMessage(f"{job}-id{number}", job, "shop", "forward", number // 4, 0, number % 4, body)


def fill(store: SqliteStore) -> None:
    """What a store has in the midst of work: two jobs under way, one that has ended, models, a long blob."""
    for job in ("j", "k", "done"):
        store.add_job(job, codec.pack({"name": job, "numbers": list(range(40))}), JobState.RUNNING, "", "alice")
        for number in range(12):
            store.write(job, received=[message(number, job)], posted=[message(100 + number, job, 9000)])
        store.write(job, checkpoint=Checkpoint(1, b"state" * 300, {"network": random.Random(job).randbytes(50_000)}))
        store.forget(job, 0, {"shop": 25})
        store.save_model(job, random.Random(f"model{job}").randbytes(30_000))
    store.set_state("done", JobState.SUCCEEDED, report=codec.pack({"rounds": 3}))
    store.purge("done")
    for number in range(12, 20):
        store.write("j", received=[message(number)], posted=[message(100 + number)])


def contents(store: SqliteStore, job: str) -> dict[str, Any]:
    """All that a process asks of a store about one job."""
    record = store.job(job)
    inbox, outbox = list(store.inbox(job)), list(store.outbox(job))
    return {
        "record": record,
        "inbox": inbox,
        "outbox": outbox,
        "received": [store.received(job, each.id) for each in inbox],
        "posted": [store.posted(job, each.id) for each in outbox],
        "after": list(store.sent_after(job, "shop", 27)),
        "decided": store.decided(job, "forward", 27),
        "last": store.last_posted(job),
        "checkpoint": store.last_checkpoint(job),
        "blob": store.blob(job, "network"),
        "model": store.model(job),
        "history": store.history(job),
    }


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    """The files of a process that died at work, half of them in the log, and what they hold."""
    folder = tmp_path_factory.mktemp("original")
    with SqliteStore(folder / "bank.db") as store:
        fill(store)
        found = {job: contents(store, job) for job in ("j", "k", "done")}
        shutil.copytree(folder, copy := tmp_path_factory.mktemp("copies") / "died")
    return copy, found


def copied(original: Path, folder: Path) -> Path:
    shutil.copytree(original, folder / "store")
    return folder / "store" / "bank.db"


def named(error: StoreError, path: Path) -> bool:
    return str(path) in str(error)


def check(path: Path, expected: dict[str, dict[str, Any]]) -> tuple[int, int]:
    """How many jobs read well and how many are refused; AssertionError where one reads otherwise."""
    try:
        store = SqliteStore(path)
    except StoreError as error:
        return 0, named(error, path) * len(expected)
    sound = refused = 0
    with store:
        if store.lost:
            return 0, len(expected)
        damaged = store.damaged()
        assert {record.job for record in store.jobs()} | set(damaged) == set(expected)
        for job, content in expected.items():
            try:
                found = contents(store, job)
            except StoreError as error:
                refused += named(error, path)
                continue
            assert found == content
            sound += 1
        # It goes on to be written.
        for job in damaged:
            store.give_up(job, "damaged")
        store.purge("j", "k")
    return sound, refused


def test_a_flipped_bit_is_found_or_harms_nothing(
    original: tuple[Path, dict[str, dict[str, Any]]], tmp_path: Path
) -> None:
    folder, expected = original
    chance, outcomes = random.Random(11), []
    for number in range(COPIES):
        path = copied(folder, tmp_path / str(number))
        files = sorted(path.parent.iterdir())
        # By size, as a bad block would.
        file = chance.choices(files, [each.stat().st_size for each in files])[0]
        body = bytearray(file.read_bytes())
        for _ in range(chance.choice([1, 1, 8])):
            body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
        file.write_bytes(body)
        outcomes.append(check(path, expected))
        shutil.rmtree(path.parent)
    assert all(sum(outcome) == len(expected) for outcome in outcomes)
    assert sum(refused > 0 for _, refused in outcomes) > COPIES // 2
    # Other jobs go on.
    assert sum(sound > 0 and refused > 0 for sound, refused in outcomes) > COPIES // 20


def test_a_record_in_anothers_place_is_found(tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "bank.db") as store:
        fill(store)
    with sqlite3.connect(tmp_path / "bank.db") as connection:
        connection.execute("UPDATE checkpoints SET state = 'x' WHERE job = 'j'")
        connection.execute("UPDATE models SET share = (SELECT share FROM models WHERE job = 'k') WHERE job = 'j'")
        connection.execute("UPDATE jobs SET state = 'succeeded' WHERE job = 'j'")
    connection.close()
    with SqliteStore(tmp_path / "bank.db") as store:
        for ask in (store.job, store.last_checkpoint, store.model):
            with pytest.raises(StoreError, match=r"bank\.db: a record of job j .* is damaged"):
                ask("j")
            assert ask("k") is not None
        assert [record.job for record in store.jobs()] == ["k", "done"]
        assert set(store.damaged()) == {"j"}
        record = store.give_up("j", "its record is damaged")
        assert codec.unpack(record.spec)["name"] == "j"
        assert record.state is JobState.FAILED
        assert store.damaged() == {}
        assert [record.job for record in store.unfinished()] == ["j", "k"]
        store.purge("j")
        assert [record.job for record in store.unfinished()] == ["k"]


@pytest.mark.parametrize("change", ["log deleted", "log cut", "mark deleted", "older copy"])
def test_a_store_without_its_last_entries_says_so(tmp_path: Path, change: str) -> None:
    path, copy = tmp_path / "bank.db", tmp_path / "copy"
    with SqliteStore(path) as store:
        store.add_job("j", b"spec", JobState.RUNNING)
    shutil.copytree(tmp_path, older := tmp_path / "older")
    with SqliteStore(path) as store:
        assert store.lost == ""
        for number in range(9):
            store.write("j", posted=[message(number)])
        copy.mkdir()
        for file in tmp_path.glob("bank.db*"):
            shutil.copy(file, copy)
    path, log = copy / "bank.db", copy / "bank.db-wal"
    if change == "log deleted":
        log.unlink()
    elif change == "log cut":
        log.write_bytes(log.read_bytes()[:-5000])
    elif change == "mark deleted":
        (copy / "bank.db.mark").unlink()
    else:
        log.unlink()
        shutil.copy(older / "bank.db", path)
    with SqliteStore(path) as store:
        assert store.lost.startswith("its store lost")
        assert len(list(store.outbox("j"))) == (9 if change == "mark deleted" else 8 if change == "log cut" else 0)
    with SqliteStore(path) as store:
        assert store.lost == ""


def test_a_store_that_is_deleted_begins_anew_and_keeps_the_log_aside(tmp_path: Path) -> None:
    path = tmp_path / "bank.db"
    with SqliteStore(path) as store:
        fill(store)
        shutil.copytree(tmp_path, copy := tmp_path / "copy")
    path = copy / "bank.db"
    log = (copy / "bank.db-wal").read_bytes()
    path.unlink()
    with SqliteStore(path) as store:
        assert (store.lost, store.jobs()) == ("", [])
    assert (copy / "bank.db-wal.lost").read_bytes() == log


def test_a_store_that_is_replaced_at_work_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "bank.db"
    with SqliteStore(path) as store:
        store.add_job("j", b"spec", JobState.RUNNING)
        path.rename(tmp_path / "moved.db")
        with pytest.raises(StoreLost, match=r"bank\.db: the store was deleted, moved or replaced"):
            store.write("j", posted=[message(1)])
        with SqliteStore(path) as other:
            assert other.jobs() == []
            with pytest.raises(StoreLost):
                store.write("j", posted=[message(1)])


def test_the_lock_is_on_the_file_and_not_on_its_name(tmp_path: Path) -> None:
    path = tmp_path / "bank.db"
    with SqliteStore(path):
        (tmp_path / "linked.db").hardlink_to(path)
        (tmp_path / "symbolic.db").symlink_to(path)
        for name in ("linked.db", "symbolic.db"):
            with pytest.raises(StoreInUse):
                SqliteStore(tmp_path / name)
        path.rename(tmp_path / "moved.db")
        with pytest.raises(StoreInUse):
            SqliteStore(tmp_path / "moved.db")


def other_database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE cookies (name TEXT)")
    connection.close()


def first_version(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        for table in ("jobs", "inbox", "outbox", "checkpoints"):
            connection.execute(f"CREATE TABLE {table} (job TEXT)")
    connection.close()


def newer_version(path: Path) -> None:
    SqliteStore(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    path.with_name(path.name + ".mark").unlink()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_text("id,a\n1,2\n" * 50), "is not a store of fedbus, and was left as it is"),
        (lambda path: path.write_text("id"), "is not a store of fedbus, and was left as it is"),
        (lambda path: path.touch(), "is empty, and no store of fedbus"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.symlink_to("/dev/null"), "is no regular file"),
        (other_database, "another program's SQLite database"),
        (first_version, "is a store of an older version of fedbus"),
        (newer_version, "is a store of a newer version of fedbus"),
    ],
)
def test_what_is_no_store_is_left_as_it_is(tmp_path: Path, make: Any, words: str) -> None:
    path = tmp_path / "shop.csv"
    make(path)
    if path.is_file():
        path.chmod(0o644)
    before = path.lstat()
    body = path.read_bytes() if path.is_file() else b""
    with pytest.raises(StoreError, match=words) as raised:
        SqliteStore(path)
    assert str(path) in str(raised.value)
    assert [file.name for file in tmp_path.iterdir()] == ["shop.csv"]
    after = path.lstat()
    assert (after.st_mode, after.st_mtime_ns, after.st_ino) == (before.st_mode, before.st_mtime_ns, before.st_ino)
    assert body == (path.read_bytes() if path.is_file() else b"")


@pytest.fixture
def sealed(tmp_path: Path) -> Iterator[Path]:
    """A folder whose modes the test may take away."""
    folder = tmp_path / "folder"
    folder.mkdir()
    yield folder
    folder.chmod(0o700)


def test_a_file_or_folder_that_may_not_be_written_is_a_sentence(sealed: Path) -> None:
    path = sealed / "bank.db"
    sealed.chmod(0o500)
    if os.access(sealed, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(StoreError, match=r"bank\.db: the store cannot be opened: Permission denied"):
        SqliteStore(path)
    sealed.chmod(0o700)
    SqliteStore(path).close()
    sealed.chmod(0o500)
    with pytest.raises(StoreError, match="its folder cannot be written"):
        SqliteStore(path)
    sealed.chmod(0o700)
    path.chmod(0o400)
    with pytest.raises(StoreError, match="this user may not read and write it"):
        SqliteStore(path)
