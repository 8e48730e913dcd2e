"""A session over the in-process broker: once, in order, across restarts, and never for ever."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import msgpack
import pytest

from fedbus import codec, topology
from fedbus.algorithms import registry
from fedbus.algorithms.vertical.messages import BlindedIds, CommonRows, JobKey, Verdict
from fedbus.broker.base import KEPT_BYTES, REASON_HEADER, Broker, Delivery, Outgoing
from fedbus.broker.memory.broker import MemoryHub
from fedbus.errors import DecodeError, PeerFailed, PeerSilent, ProtocolError, StoreError
from fedbus.job import JobSpec, JobState
from fedbus.messages.control import Alive, Failed, Ping, Resend, ResendAfter
from fedbus.messages.envelope import Envelope, Message
from fedbus.session.session import Session
from fedbus.store.sqlite import SqliteStore

JOB = "job-1"


def specification(**limits: float) -> JobSpec:
    return registry.parse(
        {
            "name": "test",
            "algorithm": "vertical-linear",
            "guest": {"party": "shop", "dataset": "rows", "label": "y"},
            "hosts": [{"party": "bank", "dataset": "rows"}],
            "limits": limits,
        }
    )


class Bench:
    """A hub with stores, from which sessions are made and made again."""

    def __init__(self, folder: Path, **limits: float) -> None:
        self.hub = MemoryHub()
        self.spec = specification(**limits)
        self.stores = {name: SqliteStore(folder / f"{name}.db") for name in self.spec.participants}
        self.brokers: dict[str, Broker] = {}
        for name, store in self.stores.items():
            store.add_job(JOB, codec.pack(self.spec.to_map()), JobState.RUNNING)
            self.connect(name).declare([topology.job_queue(name, JOB), topology.dead_queue()])

    def connect(self, name: str) -> Broker:
        if name in self.brokers:
            self.brokers[name].close()
        self.brokers[name] = self.hub.connect(name)
        return self.brokers[name]

    def session(self, name: str) -> Session[JobSpec]:
        """A session as a process that starts would make it."""
        session = Session(JOB, name, store=self.stores[name], broker=self.connect(name))
        session.open()
        return session

    def dead(self) -> Delivery:
        """The next dead letter."""
        letters: Future[Delivery] = Future()
        self.brokers["coordinator"].consume(topology.DEAD, lambda d: letters.done() or letters.set_result(d))
        return letters.result(5)

    def close(self) -> None:
        for broker in self.brokers.values():
            broker.close()
        for store in self.stores.values():
            store.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, resend=0.05, silence=1.0)
    yield bench
    bench.close()


def points(number: int) -> BlindedIds:
    return BlindedIds("ristretto255", b"%d" % number)


def test_a_message_arrives_where_it_was_sent(bench: Bench) -> None:
    shop, bank = bench.session("shop"), bench.session("bank")
    shop.at(1)
    bank.at(1)
    shop.send("bank", JobKey(b"key", {}, 40))
    assert bank.recv("shop", JobKey) == JobKey(b"key", {}, 40)


def test_messages_are_read_by_place_not_by_arrival(bench: Bench) -> None:
    shop, bank = bench.session("shop"), bench.session("bank")
    for round_ in (1, 2, 3):
        shop.at(round_)
        shop.send("bank", points(round_))
    for round_ in (1, 2, 3):
        bank.at(round_)
        assert bank.recv("shop", BlindedIds) == points(round_)


def test_a_stream_is_read_in_order_while_it_is_made(bench: Bench) -> None:
    shop, bank = bench.session("shop"), bench.session("bank")
    first_was_read = threading.Event()

    def pieces() -> Iterator[BlindedIds]:
        yield points(0)
        assert first_was_read.wait(5)
        yield points(1)
        yield points(2)

    sender = threading.Thread(target=shop.send_stream, args=("bank", pieces(), 3))
    sender.start()
    stream = bank.recv_stream("shop", BlindedIds)
    read = [next(stream)]
    first_was_read.set()
    read += stream
    sender.join()
    assert read == [points(0), points(1), points(2)]


def test_a_restarted_receiver_finds_what_it_had_acknowledged(bench: Bench) -> None:
    shop, bank = bench.session("shop"), bench.session("bank")
    shop.send("bank", points(1))
    shop.send("bank", JobKey(b"key", {}, 40))
    assert bank.recv("shop", JobKey) == JobKey(b"key", {}, 40)
    bank.close()
    again = bench.session("bank")
    assert again.recv("shop", BlindedIds) == points(1)
    assert again.recv("shop", JobKey) == JobKey(b"key", {}, 40)


def test_a_restarted_sender_sends_the_bytes_it_sent_before(bench: Bench) -> None:
    shop = bench.session("shop")
    shop.send("bank", points(1))
    shop.close()
    again = bench.session("shop")
    again.send("bank", points(2))
    bank = bench.session("bank")
    assert bank.recv("shop", BlindedIds) == points(1)


def test_randomness_is_the_same_after_a_restart_and_another_elsewhere(bench: Bench) -> None:
    shop = bench.session("shop")
    shop.at(3)
    drawn = shop.random("mask").read(32)
    shop.close()
    again = bench.session("shop")
    again.at(3)
    assert again.random("mask").read(32) == drawn
    others = [again.random("other").read(32), bench.session("bank").random("mask").read(32)]
    again.at(4)
    others.append(again.random("mask").read(32))
    with again.batch(1):
        others.append(again.random("mask").read(32))
    assert len({drawn, *others}) == 5


def test_a_batch_is_left_where_it_was_entered_whatever_happens_in_it(bench: Bench) -> None:
    shop, bank = bench.session("shop"), bench.session("bank")
    for session in (shop, bank):
        session.at(1)
    with shop.batch(1):
        shop.send("bank", points(1))
        with contextlib.suppress(StoreError), shop.batch(2):
            shop.send("bank", points(2))
            raise StoreError("no room")
        shop.send("bank", CommonRows(b"1111"))
    shop.send("bank", points(0))
    assert bank.recv("shop", BlindedIds) == points(0)
    with bank.batch(2):
        assert bank.recv("shop", BlindedIds) == points(2)
    with bank.batch(1):
        assert bank.recv("shop", BlindedIds) == points(1)
        assert bank.recv("shop", CommonRows) == CommonRows(b"1111")


def test_no_round_begins_within_a_batch_which_would_end_in_another_one(bench: Bench) -> None:
    shop = bench.session("shop")
    shop.at(1)
    with shop.batch(3), pytest.raises(ValueError, match="round 2 begins within batch 3 of round 1"):
        shop.at(2)
    shop.at(2)
    assert shop.round == 2


def test_a_checkpoint_is_where_a_restart_goes_on(bench: Bench) -> None:
    shop, bank = bench.session("shop"), bench.session("bank")
    assert bank.restore() is None
    bank.at(2)
    shop.at(2)
    bank.send("shop", points(2))
    sent = bank.bytes_sent
    bank.checkpoint({"weights": [1.5, -2.0]})
    bank.close()
    again = bench.session("bank")
    assert again.resumed
    assert again.restore() == {"weights": [1.5, -2.0]}
    assert again.round == 2
    assert again.bytes_sent == sent


def test_what_a_peer_checkpointed_is_not_kept(bench: Bench) -> None:
    shop, bank = bench.session("shop"), bench.session("bank")
    for session in (shop, bank):
        session.at(1)
    shop.send("bank", points(1))
    bank.recv("shop", BlindedIds)
    bank.checkpoint({})
    assert list(bench.stores["shop"].outbox(JOB))
    bank.at(2)
    shop.at(2)
    bank.send("shop", points(2))
    shop.recv("bank", BlindedIds)
    shop.close()
    assert not list(bench.stores["shop"].outbox(JOB))


def test_a_message_that_the_broker_lost_is_asked_for(bench: Bench) -> None:
    shop, bank = bench.session("shop"), bench.session("bank")
    bank.close()
    shop.send_stream("bank", (points(number) for number in range(3)), 3)
    # The broker loses all that it held for the bank.
    queue = topology.job_queue("bank", JOB)
    bench.hub.drop(queue.name)
    bench.brokers["coordinator"].declare([queue])
    again = bench.session("bank")
    assert list(again.recv_stream("shop", BlindedIds)) == [points(0), points(1), points(2)]


@pytest.mark.parametrize("sent", [0, 1], ids=["nothing yet", "a part of a stream"])
def test_a_peer_that_computes_is_waited_for_beyond_the_limit_of_silence(bench: Bench, sent: int) -> None:
    shop, bank = bench.session("shop"), bench.session("bank")
    asked = threading.Event()
    heard = bank._post.mailbox.heard

    def count(sender: str, calls: list[str] = []) -> None:  # noqa: B006
        heard(sender)
        calls.append(sender)
        if len(calls) > 4:
            asked.set()

    bank._post.mailbox.heard = count  # type: ignore[method-assign]

    def pieces() -> Iterator[BlindedIds]:
        for number in range(sent + 1):
            if number == sent:
                # By then the bank has asked often enough for its limit to be over, were it not answered.
                asked.wait(30)
            yield points(number)

    thread = threading.Thread(target=shop.send_stream, args=("bank", pieces(), sent + 1))
    thread.start()
    assert list(bank.recv_stream("shop", BlindedIds)) == [points(number) for number in range(sent + 1)]
    thread.join()


@pytest.mark.parametrize(
    ("question", "answers"),
    [
        (Ping(), [Alive()]),
        (ResendAfter(0), [points(1), points(2)]),
        (ResendAfter(1), [points(2)]),
        (ResendAfter(2), [Alive()]),
        (Resend("blinded_ids", 1, 0, []), [points(1)]),
        (Resend("blinded_ids", 1, 0, [7]), [Alive()]),
        (Resend("outcome", 1, 0, []), [Alive()]),
    ],
)
def test_who_asks_is_sent_again_what_it_names_or_a_sign_of_life(
    bench: Bench, question: Message, answers: list[Message]
) -> None:
    received: SimpleQueue[Message] = SimpleQueue()
    bank = bench.connect("bank")
    bank.consume(topology.job_queue("bank", JOB).name, lambda each: received.put(codec.decode(each.body).payload))
    shop = bench.session("shop")
    for round_ in (1, 2):
        shop.at(round_)
        shop.send("bank", points(round_))
        assert received.get(timeout=5) == points(round_)
    # The answer to a second question comes after all answers to the first.
    for number, asked in enumerate((question, Ping())):
        body = codec.encode(Envelope(JOB, "bank", "shop", asked))
        bank.publish(Outgoing(topology.DATA, topology.data_key("bank", "shop", JOB), body, f"{number}")).result(5)
    assert [received.get(timeout=5) for _ in answers] == answers
    assert received.get(timeout=5) == Alive()


def test_a_silent_peer_ends_the_wait_with_its_name(bench: Bench) -> None:
    bank = bench.session("bank")
    with pytest.raises(PeerSilent, match=r"shop gave no sign of life .*bank waited for blinded_ids of step 0"):
        bank.recv("shop", BlindedIds)


def test_a_failed_peer_ends_the_wait_with_its_reason_also_after_a_restart(bench: Bench) -> None:
    bank = bench.session("bank")
    bank.report_failure(Failed("users.csv: row 3, column 'age': not a number"))
    for _ in range(2):
        coordinator = bench.session("coordinator")
        with pytest.raises(PeerFailed, match=r"bank: users\.csv: row 3, column 'age'"):
            coordinator.recv("shop", BlindedIds)
        coordinator.close()


def body(**changes: Any) -> bytes:
    envelope = Envelope(JOB, "shop", "bank", points(1))
    fields = msgpack.unpackb(codec.encode(envelope), raw=False)
    return bytes(msgpack.packb({**fields, **changes}))


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b"\x00garbage", "malformed message"),
        (body(version=99), "unknown version"),
        (body(kind="gossip"), "unknown kind"),
        (b"\x00" * (codec.MAX_BODY_BYTES + 1), "over the limit"),
        (codec.encode(Envelope(JOB, "coordinator", "bank", points(1))), "published by shop"),
        (codec.encode(Envelope("other-job", "shop", "bank", points(1))), "another job"),
    ],
    ids=["garbage", "version", "kind", "size", "sender", "job"],
)
def test_a_broken_message_of_a_participant_is_dead_lettered_and_ends_the_job(
    bench: Bench, broken: bytes, reason: str
) -> None:
    bank = bench.session("bank")
    shop = bench.connect("shop")
    shop.publish(Outgoing(topology.DATA, topology.data_key("shop", "bank", JOB), broken, "m1")).result(5)
    with pytest.raises(ProtocolError, match=f"bank received from shop: .*{reason}"):
        bank.recv("shop", BlindedIds)
    letter = bench.dead()
    assert letter.body == broken[:KEPT_BYTES]
    assert reason in letter.headers[REASON_HEADER]


def test_an_outsider_cannot_end_a_job(bench: Bench) -> None:
    shop, bank = bench.session("shop"), bench.session("bank")
    outsider = bench.connect("mallory")
    key = topology.data_key("mallory", "bank", JOB)
    outsider.publish(Outgoing(topology.DATA, key, b"garbage", "m1")).result(5)
    assert bench.dead().body == b"garbage"
    shop.send("bank", points(1))
    assert bank.recv("shop", BlindedIds) == points(1)


def test_a_stale_message_is_dropped(bench: Bench) -> None:
    shop, bank = bench.session("shop"), bench.session("bank")
    bank.at(5)
    bank.checkpoint({})
    shop.at(4)
    shop.send("bank", points(4))
    shop.at(6)
    shop.send("bank", Verdict(1.0, stop=False, converged=False))
    bank.at(6)
    bank.recv("shop", Verdict)
    bank.close()
    assert [message.round for message in list(bench.stores["bank"].inbox(JOB))] == [6]


def test_one_piece_where_one_is_expected(bench: Bench) -> None:
    shop, bank = bench.session("shop"), bench.session("bank")
    shop.send_stream("bank", (CommonRows(b"1234") for _ in range(2)), 2)
    with pytest.raises(ProtocolError, match="2 pieces"):
        bank.recv("shop", CommonRows)


def test_rounds_do_not_go_back(bench: Bench) -> None:
    shop = bench.session("shop")
    shop.at(3)
    with pytest.raises(ValueError, match="round 2"):
        shop.at(2)


def test_an_oversized_message_is_not_even_journalled(bench: Bench) -> None:
    shop = bench.session("shop")
    with pytest.raises(ValueError, match="over the limit"):
        shop.send("bank", BlindedIds("ristretto255", bytes(codec.MAX_BODY_BYTES)))
    assert not list(bench.stores["shop"].outbox(JOB))
    assert issubclass(DecodeError, ProtocolError)


def test_a_failure_that_was_lost_is_reported_again(bench: Bench) -> None:
    bank = bench.session("bank")
    bench.brokers["bank"].delete(topology.job_queue("coordinator", JOB).name)
    bank.report_failure(Failed("the disk is full"))
    bench.brokers["bank"].declare([topology.job_queue("coordinator", JOB)])
    coordinator = bench.session("coordinator")
    with pytest.raises(PeerFailed, match="bank: the disk is full"):
        coordinator.recv("bank", JobKey)


def test_a_failure_is_reported_though_the_store_cannot_be_written(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, coordinator = bench.session("bank"), bench.session("coordinator")

    def full(*_: object, **__: object) -> list[bool]:
        raise StoreError("disk full")

    monkeypatch.setattr(bench.stores["bank"], "write", full)
    bank.report_failure(Failed("disk full"))
    with pytest.raises(PeerFailed, match="bank: disk full"):
        coordinator.recv("bank", JobKey)
