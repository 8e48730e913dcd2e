"""When a message received is acknowledged, and what of it a restart finds."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from fedbus.broker.base import Delivery
from fedbus.errors import JobFailed, StoreError, StoreFull
from fedbus.job import JobState
from fedbus.session.journal import Journal
from fedbus.store.records import Checkpoint, StoredMessage
from fedbus.store.sqlite import SqliteStore

JOB = "job-1"


class Acknowledgement:
    """A delivery that knows whether it was acknowledged."""

    def __init__(self) -> None:
        self.done = threading.Event()

    def ack(self) -> None:
        self.done.set()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "bank.db") as store:
        store.add_job(JOB, b"spec", JobState.RUNNING)
        yield store


def journal_on(store: SqliteStore, failures: list[StoreError] | None = None) -> Journal:
    journal = Journal(JOB, store, [].append if failures is None else failures.append, time.sleep, [].append)
    for _ in journal.open():
        pass
    return journal


def message(number: int, round_: int = 1, body: bytes = b"body") -> StoredMessage:
    return StoredMessage(f"id{number}", JOB, "shop", "forward", round_, 0, number, body)


def delivery() -> tuple[Acknowledgement, Delivery]:
    made = Acknowledgement()
    return made, cast(Delivery, made)


def full(*_: object, **__: object) -> list[bool]:
    raise StoreError("disk full")


def watch(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is written from now on, transaction by transaction."""
    written: list[dict[str, Any]] = []
    write = store.write

    def watched(job: str, **named: Any) -> list[bool]:
        written.append(named)
        return write(job, **named)

    monkeypatch.setattr(store, "write", watched)
    return written


def test_a_message_is_acknowledged_no_sooner_than_it_is_durable(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, (acknowledged, taken) = journal_on(store), delivery()
    before: list[bool] = []
    write = store.write

    def watched(*arguments: Any, **named: Any) -> list[bool]:
        before.append(acknowledged.done.is_set())
        return write(*arguments, **named)

    monkeypatch.setattr(store, "write", watched)
    assert journal.receive(message(1), taken)
    assert acknowledged.done.wait(5)
    assert before == [False]
    assert [each.id for each in store.inbox(JOB)] == ["id1"]


def test_what_a_checkpoint_covers_is_acknowledged_and_never_written(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, (acknowledged, taken) = journal_on(store), delivery()
    written = watch(store, monkeypatch)
    journal.receive(message(1, round_=4), taken)
    journal.checkpoint(Checkpoint(4, b"state"), with_next=False)
    assert acknowledged.done.wait(5)
    assert [each["received"] for each in written] == [[]]
    assert journal.checkpointed == 4


def test_a_checkpoint_is_durable_with_what_is_sent_next(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedbus.session.journal._DELAY", 60.0)
    journal, written = journal_on(store), watch(store, monkeypatch)
    journal.checkpoint(Checkpoint(4, b"state"), with_next=True)
    assert (store.last_checkpoint(JOB), journal.checkpointed) == (None, -1)
    assert journal.post([message(2, round_=5)]) == [True]
    assert store.last_checkpoint(JOB) == (4, b"state")
    assert journal.checkpointed == 4
    assert len(written) == 1


def test_a_checkpoint_of_a_message_is_in_its_transaction_or_nowhere(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, written = journal_on(store), watch(store, monkeypatch)
    with monkeypatch.context() as broken:
        broken.setattr(store, "write", full)
        with pytest.raises(StoreError, match="disk full"):
            journal.post([message(2, round_=4)], Checkpoint(4, b"state"))
    journal.close()
    assert (store.last_checkpoint(JOB), list(store.outbox(JOB))) == (None, [])
    again = journal_on(store)
    again.post([message(2, round_=4)], Checkpoint(4, b"state"))
    assert store.last_checkpoint(JOB) == (4, b"state")
    assert len(written) == 1


def test_nothing_goes_out_without_a_checkpoint_that_could_not_be_written(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()
    journal = Journal(JOB, store, lambda _: failed.set(), time.sleep, [].append)
    assert not list(journal.open())
    with monkeypatch.context() as broken:
        broken.setattr(store, "write", full)
        journal.checkpoint(Checkpoint(4, b"state", {"weights": b"1"}), with_next=True)
        assert failed.wait(5)
    journal.checkpoint(Checkpoint(5, b"later", {"best": b"2"}), with_next=True)
    journal.post([message(2, round_=6)])
    assert store.last_checkpoint(JOB) == (5, b"later")
    assert (store.blob(JOB, "weights"), store.blob(JOB, "best")) == (b"1", b"2")


def test_a_checkpoint_that_nothing_follows_is_durable_soon(store: SqliteStore) -> None:
    journal, (acknowledged, taken) = journal_on(store), delivery()
    journal.receive(message(1, round_=4), taken)
    journal.checkpoint(Checkpoint(4, b"state"), with_next=True)
    assert acknowledged.done.wait(5)
    assert store.last_checkpoint(JOB) == (4, b"state")


def test_a_message_that_comes_twice_is_taken_once_and_both_are_acknowledged(store: SqliteStore) -> None:
    journal, (first, one), (second, two), (third, three) = journal_on(store), delivery(), delivery(), delivery()
    assert journal.receive(message(1), one)
    assert not journal.receive(message(1), two)
    assert first.done.wait(5)
    assert second.done.wait(5)
    assert not journal.receive(message(1), three)
    assert third.done.wait(5)
    assert len(list(store.inbox(JOB))) == 1


def test_what_was_not_acknowledged_at_the_end_is_durable(store: SqliteStore) -> None:
    journal, (acknowledged, taken) = journal_on(store), delivery()
    journal.receive(message(1), taken)
    journal.checkpoint(Checkpoint(0, b"state"), with_next=True)
    journal.close()
    assert acknowledged.done.is_set()
    assert [each.id for each in Journal(JOB, store, [].append, time.sleep, [].append).open()] == ["id1"]
    assert store.last_checkpoint(JOB) == (0, b"state")
    late, after = delivery()
    assert not journal.receive(message(2), after)
    assert not late.done.is_set()


def test_many_messages_and_long_ones_do_not_wait(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedbus.session.journal._DELAY", 60.0)
    journal = journal_on(store)
    several = [delivery() for _ in range(32)]
    for number, (_, taken) in enumerate(several):
        journal.receive(message(number), taken)
    assert all(acknowledged.done.wait(5) for acknowledged, _ in several)
    acknowledged, taken = delivery()
    journal.receive(message(200, body=bytes(5 * 1024**2)), taken)
    # By the one who received it: more cannot come meanwhile.
    assert acknowledged.done.is_set()


def test_what_is_not_durable_yet_can_be_read(store: SqliteStore) -> None:
    journal, (_, taken) = journal_on(store), delivery()
    journal.receive(message(1, body=b"waits"), taken)
    assert journal.received("id1") == b"waits"
    journal.close()
    assert journal.received("id1") == b"waits"


def test_a_store_that_cannot_be_written_acknowledges_nothing(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()
    journal = Journal(JOB, store, lambda _: failed.set(), time.sleep, [].append)
    assert not list(journal.open())

    monkeypatch.setattr(store, "write", full)
    acknowledged, taken = delivery()
    journal.receive(message(1), taken)
    assert failed.wait(5)
    assert not acknowledged.done.is_set()
    with pytest.raises(StoreError, match="disk full"):
        journal.post([message(2)])


def test_what_peers_need_no_more_is_forgotten(store: SqliteStore) -> None:
    journal, (acknowledged, taken) = journal_on(store), delivery()
    journal.post([message(1, round_=1), message(2, round_=2)])
    journal.receive(message(3, round_=3), taken, 1)
    assert acknowledged.done.wait(5)
    journal.close()
    assert [each.round for each in store.outbox(JOB)] == [2]


def out_of_room(store: SqliteStore, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Let the store's disk be full so many times."""
    write, left = store.write, iter(range(times))

    def tried(*arguments: Any, **named: Any) -> list[bool]:
        if next(left, None) is not None:
            raise StoreFull("disk full")
        return write(*arguments, **named)

    monkeypatch.setattr(store, "write", tried)


def test_what_is_sent_waits_for_room_on_the_disk(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    told: list[StoreFull | None] = []
    journal = Journal(JOB, store, [].append, waits.append, told.append)
    list(journal.open())
    out_of_room(store, monkeypatch, 3)
    journal.checkpoint(Checkpoint(4, b"four"), with_next=True)
    assert journal.post([message(1)]) == [True]
    assert [type(each) for each in told] == [StoreFull, StoreFull, StoreFull, type(None)]
    assert len(waits) == 3
    assert store.last_checkpoint(JOB) == (4, b"four")
    journal.close()


def test_whoever_waits_for_room_hears_of_the_end_of_the_job(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(_: float) -> None:
        raise JobFailed("cancelled")

    journal = Journal(JOB, store, [].append, wait, [].append)
    list(journal.open())
    out_of_room(store, monkeypatch, 1)
    with pytest.raises(JobFailed):
        journal.post([message(1)])
    assert journal.post([message(1)]) == [True]
    journal.close()


def test_what_was_received_is_acknowledged_once_there_is_room(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[Exception] = []
    told: list[StoreFull | None] = []
    journal = Journal(JOB, store, failures.append, time.sleep, told.append)
    list(journal.open())
    out_of_room(store, monkeypatch, 2)
    acknowledged, made = delivery()
    assert journal.receive(message(1), made)
    assert acknowledged.done.wait(10)
    assert store.received(JOB, "id1") == b"body"
    journal.close()
    assert failures == []
    assert told[0] is not None
    assert told[-1] is None
