"""A session over the in-process broker: once, in order, across restarts, and never for ever."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import msgpack
import pytest

from fedbus import codec, metrics, topology
from fedbus.algorithms import registry
from fedbus.algorithms.vertical.messages import BlindedIds, CommonRows, JobKey
from fedbus.broker.base import KEPT_BYTES, REASON_HEADER, Broker, Delivery, Outgoing
from fedbus.broker.memory.broker import MemoryHub
from fedbus.crypto import sealing
from fedbus.errors import DecodeError, PeerFailed, PeerSilent, ProtocolError, StoreError
from fedbus.identity import Identity
from fedbus.job import JobSpec, JobState
from fedbus.messages.control import Alive, Failed, Ping, Resend, ResendAfter
from fedbus.messages.envelope import Envelope, Message
from fedbus.messages.seal import GROUP, Content
from fedbus.messages.seal import JOB as SEALED_FOR_JOB
from fedbus.seals import JobSeals
from fedbus.session.events import Events
from fedbus.session.session import Session
from fedbus.store.sqlite import SqliteStore
from keyring import credentials, private, seals

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
        broker = self.connect(name)
        session: Session[JobSpec] = Session(
            JOB,
            name,
            store=self.stores[name],
            broker=broker,
            credentials=credentials(name),
            events=Events(broker, seals(name)),
        )
        session.open()
        return session

    def seals(self, name: str, *peers: str) -> JobSeals:
        """The seals of a participant that is made by hand, and has met others."""
        met = {peer: self.seals(peer).certificate for peer in peers}
        return JobSeals(credentials(name), JOB, self.secret(name), self.spec.role, met)

    def secret(self, name: str) -> bytes:
        record = self.stores[name].job(JOB)
        assert record is not None
        return record.secret

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
    shop.send("bank", CommonRows(b"1234"))
    assert bank.recv("shop", CommonRows) == CommonRows(b"1234")


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
    shop.send("bank", CommonRows(b"1234"))
    assert bank.recv("shop", CommonRows) == CommonRows(b"1234")
    bank.close()
    again = bench.session("bank")
    assert again.recv("shop", BlindedIds) == points(1)
    assert again.recv("shop", CommonRows) == CommonRows(b"1234")


def test_a_restarted_sender_sends_the_bytes_it_sent_before(bench: Bench) -> None:
    bank, shop = bench.session("bank"), bench.session("shop")
    shop.send("bank", CommonRows(b"1234"))
    bank.close()
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
    shop.send("bank", CommonRows(b"1234"))
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
    bank, own = bench.connect("bank"), bench.seals("bank", "shop")

    def read(delivery: Delivery) -> None:
        payload = codec.decode(delivery.body, own).payload
        if not isinstance(payload, Ping):
            received.put(payload)

    bank.consume(topology.job_queue("bank", JOB).name, read)
    # It is met before it is sent anything: a sign of life tells its key.
    hello = codec.encode(Envelope(JOB, "bank", "shop", Alive()), own)
    bank.publish(Outgoing(topology.DATA, topology.data_key("bank", "shop", JOB), hello, "hello")).result(5)
    shop = bench.session("shop")
    for round_ in (1, 2):
        shop.at(round_)
        shop.send("bank", points(round_))
        assert received.get(timeout=5) == points(round_)
    # The answer to a second question comes after all answers to the first.
    for number, asked in enumerate((question, Ping())):
        body = codec.encode(Envelope(JOB, "bank", "shop", asked), own)
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


def publish(bench: Bench, publisher: str, message: bytes) -> None:
    """Publish to the bank as a user of the broker."""
    key = topology.data_key(publisher, "bank", JOB)
    bench.connect(publisher).publish(Outgoing(topology.DATA, key, message, "m1")).result(5)


def sent(bench: Bench, payload: Message | None = None, by: str = "shop", **changes: Any) -> bytes:
    """A message for the bank as its sender seals it, and then what somebody on the way makes of its header."""
    envelope = Envelope(JOB, by, "bank", payload or points(1))
    fields = msgpack.unpackb(codec.encode(envelope, bench.seals(by, "bank")), raw=False)
    moved = {**fields, **changes}
    if changes and "id" not in changes and set(changes) <= {"job", "round", "batch", "recipient", "chunk", "chunks"}:
        place = {name: moved[name] for name in ("job", "sender", "recipient", "round", "batch", "chunk", "chunks")}
        moved["id"] = Envelope(payload=envelope.payload, **place).id
    return bytes(msgpack.packb(moved))


def flipped(message: bytes, at: int) -> bytes:
    changed = bytearray(message)
    changed[at] ^= 1
    return bytes(changed)


SHOP = Identity(private("shop"))
FORGED: dict[str, tuple[Callable[[Bench], bytes], str, str, str]] = {
    # Each with its publisher, the reason, and under what it is counted.
    "garbage": (lambda _: b"\x00garbage", "shop", "malformed message", "malformed"),
    "version": (lambda b: sent(b, version=99), "shop", "unknown version", "version"),
    "kind": (lambda b: sent(b, kind="gossip"), "shop", "unknown kind", "kind"),
    "another kind": (lambda b: sent(b, kind="common_rows"), "shop", "its id does not fit", "malformed"),
    "size": (lambda _: b"\x00" * (codec.MAX_BODY_BYTES + 1), "shop", "over the limit", "size"),
    "another round": (lambda b: sent(b, round=3), "shop", "does not open", "seal"),
    "another batch": (lambda b: sent(b, batch=3), "shop", "does not open", "seal"),
    "another chunk": (lambda b: sent(b, chunk=1, chunks=2), "shop", "does not open", "seal"),
    "more chunks": (lambda b: sent(b, chunks=2), "shop", "does not open", "seal"),
    "another checkpoint": (lambda b: sent(b, checkpoint=7), "shop", "does not open", "seal"),
    "another time": (lambda b: sent(b, sent_at=1.0), "shop", "does not open", "seal"),
    "another job": (lambda b: sent(b, job="job-2"), "shop", "for another job", "address"),
    "another recipient": (lambda b: sent(b, recipient="coordinator"), "shop", "another job or recipient", "address"),
    "not sealed": (lambda _: codec.encode(Envelope(JOB, "shop", "bank", points(1))), "shop", "not sealed", "seal"),
    "under identities": (
        lambda _: codec.encode(Envelope(JOB, "shop", "bank", points(1)), seals("shop")),
        "shop", "not sealed for", "seal"
    ),
    "said to be under identities": (lambda b: sent(b, seal=1), "shop", "not sealed for", "seal"),
    "another's name": (
        lambda b: sent(b, JobKey(b"k", {}, 1), by="coordinator"), "shop", "published by shop", "publisher"
    ),
    "another's key": (
        lambda b: sent(b, key=JobSeals(credentials("coordinator"), JOB, bytes(32), b.spec.role).certificate),
        "shop", "no key of shop", "seal"
    ),
    "a key of another job": (
        lambda b: sent(b, key=JobSeals(credentials("shop"), "job-2", bytes(32), b.spec.role).certificate),
        "shop", "no key of shop", "seal"
    ),
    "no key": (lambda b: sent(b, key=b""), "shop", "no key of shop", "seal"),
    "a key of low order": (
        lambda b: sent(b, key=bytes(32) + SHOP.sign("fedbus job key", JOB.encode(), b"shop", bytes(32))),
        "shop", "low order", "seal"
    ),
    "a role that may not": (lambda b: sent(b, JobKey(b"k", {}, 1)), "shop", "job_key message of shop, a guest", "role"),
    "a flipped bit": (lambda b: flipped(sent(b), -1), "shop", "does not open", "seal"),
    "a flipped bit of its key": (lambda b: flipped(sent(b), -60), "shop", "does not open", "seal"),
    "an outsider": (lambda b: sent(b), "mallory", "message by mallory, who is not in the job", "stranger"),
}  # fmt: skip


def refused(why: str) -> float:
    return metrics.refused.labels(why)._value.get()  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", FORGED)
def test_what_does_not_open_is_a_dead_letter_that_is_counted_and_ends_no_job(bench: Bench, name: str) -> None:
    forge, publisher, reason, why = FORGED[name]
    bank, before, forged = bench.session("bank"), refused(why), forge(bench)
    publish(bench, publisher, forged)
    letter = bench.dead()
    assert letter.body == forged[:KEPT_BYTES]
    assert reason in letter.headers[REASON_HEADER]
    assert refused(why) == before + 1
    shop = bench.session("shop")
    shop.send("bank", points(1))
    assert bank.recv("shop", BlindedIds) == points(1)


def test_a_malformed_message_that_a_participant_sealed_ends_the_job(bench: Bench) -> None:
    bank, shop = bench.session("bank"), bench.seals("shop", "bank")
    envelope = Envelope(JOB, "shop", "bank", points(1))
    content = Content.seal(codec._common(envelope), codec.pack({"ids": 7}), group=False)
    fields = codec.header(envelope, SEALED_FOR_JOB, shop.certificate)
    slot = shop.seal_key("bank", SEALED_FOR_JOB, content, codec.pack(fields))
    publish(bench, "shop", codec.pack({**fields, "payload": slot + content.sealed}))
    with pytest.raises(ProtocolError, match="bank received from shop: malformed"):
        bank.recv("shop", BlindedIds)
    assert "malformed" in bench.dead().headers[REASON_HEADER]


def test_a_peer_has_one_key_in_a_job_also_after_a_restart(bench: Bench) -> None:
    bank, shop = bench.session("bank"), bench.session("shop")
    shop.send("bank", points(1))
    assert bank.recv("shop", BlindedIds) == points(1)
    shop.close()
    bank.close()
    # Whoever has its identity by now, and not what it keeps of the job.
    thief = JobSeals(credentials("shop"), JOB, bytes(32), bench.spec.role, {"bank": bench.seals("bank").certificate})
    bank = bench.session("bank")
    publish(bench, "shop", codec.encode(Envelope(JOB, "shop", "bank", points(7), round=1), thief))
    assert "under another key than its own in this job" in bench.dead().headers[REASON_HEADER]
    again = bench.session("shop")
    for session in (again, bank):
        session.at(1)
    again.send("bank", points(2))
    assert bank.recv("shop", BlindedIds) == points(2)


def test_a_message_for_two_is_sealed_once_and_neither_reads_or_changes_the_others(bench: Bench) -> None:
    shop = bench.seals("shop", "bank", "coordinator")
    for_bank, for_coordinator = codec.encode_all(
        [Envelope(JOB, "shop", to, Alive(), sent_at=1.0) for to in ("bank", "coordinator")], shop
    )
    fields, others = (msgpack.unpackb(body, raw=False) for body in (for_bank, for_coordinator))
    assert fields["payload"][60:] == others["payload"][60:]
    bank = bench.seals("bank", "shop")
    assert codec.decode(for_bank, bank).payload == Alive()
    with pytest.raises(DecodeError, match="for coordinator, not bank"):
        codec.decode(for_coordinator, bank)
    with pytest.raises(DecodeError, match="does not open"):
        codec.decode(codec.pack({**fields, "payload": others["payload"]}), bank)
    # The coordinator knows the payload's key. It can make another payload under it, and put it nowhere.
    common = codec._common(Envelope(JOB, "shop", "bank", Alive()))
    coordinator = bench.seals("coordinator", "shop")
    bound = codec.pack({name: value for name, value in others.items() if name != "payload"})
    box = others["payload"]
    key = sealing.open_sealed(coordinator._peers["shop"][1], box[:60], bound + hashlib.sha256(box[60:]).digest())
    assert sealing.open_once(key, box[60:], common) == codec.pack({})
    other = sealing.seal_once(key, codec.pack({"x": 1}), common)
    for manner in (SEALED_FOR_JOB, SEALED_FOR_JOB | GROUP):
        # As it is, or said to be for the bank alone, where no digest binds the two.
        with pytest.raises(DecodeError, match="does not open"):
            codec.decode(codec.pack({**fields, "seal": manner, "payload": fields["payload"][:60] + other}), bank)


def test_an_outsider_cannot_end_a_job(bench: Bench) -> None:
    shop, bank = bench.session("shop"), bench.session("bank")
    publish(bench, "mallory", b"garbage")
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
    shop.send("bank", CommonRows(b"1234"))
    bank.at(6)
    bank.recv("shop", CommonRows)
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
    shop, bank = bench.session("shop"), bench.session("bank")
    with pytest.raises(ValueError, match="over the limit"):
        shop.send("bank", BlindedIds("ristretto255", bytes(codec.MAX_BODY_BYTES)))
    bank.close()
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
