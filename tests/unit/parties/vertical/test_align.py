"""The alignment in either group, in groups that differ, and against a peer that does not keep to it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fedbus.algorithms.vertical.messages import AlignmentOffer, BlindedIds, CommonRows, DoublyBlindedIds
from fedbus.crypto import curve
from fedbus.crypto.engine import Engine
from fedbus.crypto.masking import SecretStream
from fedbus.errors import InvalidPoint, JobFailed, ProtocolError
from fedbus.messages.envelope import Message
from parties.vertical import align

IDS = ["a", "b", "c"]
GUEST = "shop"
GROUPS = curve.GROUPS

Change = Callable[[Message], list[Message]]


@dataclass
class Wire:
    """What has been sent between two parties and not been read, by sender, recipient and kind."""

    queues: dict[tuple[str, str, type[Message]], SimpleQueue[Message | None]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def queue(self, sender: str, recipient: str, kind: type[Message]) -> SimpleQueue[Message | None]:
        with self.lock:
            return self.queues.setdefault((sender, recipient, kind), SimpleQueue())


@dataclass
class Party:
    """A session on a wire; `change` makes of each message of this party what it really sends."""

    wire: Wire
    name: str
    hosts: tuple[str, ...]
    change: Change = lambda message: [message]
    job: str = "job-1"
    guest: str = GUEST
    sent: list[tuple[str, Message]] = field(default_factory=list)
    counts: list[tuple[str, type[Message], int, int]] = field(default_factory=list)

    @property
    def spec(self) -> Any:
        parties = (self.guest, *self.hosts)
        return SimpleNamespace(parties=parties, guest_party=self.guest, host_parties=self.hosts)

    def random(self, label: str) -> SecretStream:
        return SecretStream(self.name.encode() * 16, label)

    def phase(self, _name: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def send(self, to: str, message: Message) -> None:
        self.send_stream(to, [message], 1)

    def send_stream(self, to: str, messages: Any, count: int) -> None:
        number, kind = 0, type(None)
        for message in messages:
            for changed in self.change(message):
                self.sent.append((to, changed))
                self.wire.queue(self.name, to, type(changed)).put(changed)
            number, kind = number + 1, type(message)
        self.counts.append((to, kind, number, count))
        self.wire.queue(self.name, to, kind).put(None)

    def recv(self, sender: str, kind: type[Message]) -> Any:
        (message,) = self.recv_stream(sender, kind)
        return message

    def recv_stream(self, sender: str, kind: type[Message]) -> Iterator[Any]:
        queue = self.wire.queue(sender, self.name, kind)
        while (message := queue.get(timeout=20)) is not None:
            yield message


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = Engine(0)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(align, "_CHUNK_ROWS", 4)


def offering(groups: dict[str, tuple[str, ...]], name: str) -> Change:
    def change(message: Message) -> list[Message]:
        return [replace(message, groups=groups[name]) if isinstance(message, AlignmentOffer) else message]

    return change


def run(engine: Engine, tables: dict[str, list[str]], **changes: Change) -> tuple[dict[str, Any], dict[str, Party]]:
    """What each party found or raised; the first one is the guest."""
    hosts = tuple(name for name in tables if name != GUEST)
    wire, found = Wire(), dict[str, Any]()
    parties = {
        name: Party(wire, name, hosts, **({"change": changes[name]} if name in changes else {})) for name in tables
    }

    def work(name: str) -> None:
        try:
            role = align.guest if name == GUEST else align.host
            found[name] = role(parties[name], engine, tables[name])  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001  # handed to the test
            found[name] = error
            # Who waits for this party goes on, and fails for that.
            for other in tables:
                for kind in (AlignmentOffer, BlindedIds, DoublyBlindedIds, CommonRows):
                    wire.queue(name, other, kind).put(None)

    threads = [threading.Thread(target=work, args=(name,)) for name in tables]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found, parties


def restricted(monkeypatch: pytest.MonkeyPatch, group: str) -> None:
    monkeypatch.setattr(curve, "groups", lambda: (group,))


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(("guest", "host"), [(1, 1), (4, 3), (9, 30), (30, 9), (12, 12)])
def test_finds_the_common_rows_in_one_order(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, group: str, guest: int, host: int
) -> None:
    restricted(monkeypatch, group)
    tables = {GUEST: [f"id{n}" for n in range(guest)], "bank": [f"id{n}" for n in reversed(range(host))]}
    found, parties = run(engine, tables)
    aligned = [[tables[name][row] for row in found[name]] for name in tables]
    assert aligned[0] == aligned[1]
    assert sorted(aligned[0]) == sorted(tables[GUEST][: min(guest, host)])
    for party in parties.values():
        assert all(number == count for _, _, number, count in party.counts)
        assert {m.group for _, m in party.sent if isinstance(m, BlindedIds)} == {group}
        assert all(len(m.points) <= 4 * 32 for _, m in party.sent if isinstance(m, BlindedIds))
    # 16 bytes of each, which are no point that could be computed with.
    returned = b"".join(m.values for _, m in parties["bank"].sent if isinstance(m, DoublyBlindedIds))
    assert len(returned) == 16 * guest


@pytest.mark.parametrize("group", GROUPS)
def test_several_hosts_have_the_same_rows_in_the_same_order(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    restricted(monkeypatch, group)
    numbers = {GUEST: range(20), "bank": range(3, 40), "credit": range(15, 2, -1)}
    tables = {name: [f"id{n}" for n in ids] for name, ids in numbers.items()}
    found, parties = run(engine, tables)
    aligned = [[tables[name][row] for row in found[name]] for name in tables]
    assert aligned[0] == aligned[1] == aligned[2]
    assert sorted(aligned[0]) == sorted(f"id{n}" for n in range(3, 16))
    # What one host receives cannot be linked with what another does.
    blinded = [(peer, message) for peer, message in parties[GUEST].sent if isinstance(message, BlindedIds)]
    to = {name: {message.points for peer, message in blinded if peer == name} for name in tables}
    assert to["bank"]
    assert not to["bank"] & to["credit"]


def test_each_pair_takes_the_fastest_group_that_both_have(engine: Engine) -> None:
    groups = {GUEST: curve.GROUPS, "bank": (curve.RISTRETTO255, "another"), "credit": curve.GROUPS[::-1]}
    tables = {GUEST: IDS, "bank": ["c", "b", "z"], "credit": ["b", "c"]}
    wire_groups: dict[str, set[str]] = {}
    found, parties = run(engine, tables, bank=offering(groups, "bank"))
    for name, message in parties[GUEST].sent:
        if isinstance(message, BlindedIds):
            wire_groups.setdefault(name, set()).add(message.group)
    assert wire_groups == {"bank": {curve.RISTRETTO255}, "credit": {curve.X25519}}
    # It blinds in another group than it offered, as after a restart with another OpenSSL: both sides say so.
    for error in (found[GUEST], found["bank"]):
        assert isinstance(error, ProtocolError)
        assert "OpenSSL; submit the job again" in str(error)


@pytest.mark.parametrize(
    ("one", "other", "group"),
    [
        (("x25519", "ristretto255"), ("ristretto255", "x25519"), "x25519"),
        (("ristretto255",), ("x25519", "ristretto255"), "ristretto255"),
        (("x25519",), ("ristretto255",), None),
        ((), ("ristretto255",), None),
        (("decaf448",), ("decaf448",), None),
    ],
)
def test_both_sides_choose_the_same(one: tuple[str, ...], other: tuple[str, ...], group: str | None) -> None:
    assert curve.agree(one, other) == curve.agree(other, one) == group


def test_no_group_in_common(engine: Engine) -> None:
    found, _ = run(engine, {GUEST: IDS, "bank": IDS}, bank=offering({"bank": ("decaf448",)}, "bank"))
    assert isinstance(found[GUEST], ProtocolError)
    assert "no group" in str(found[GUEST])


def test_nothing_in_common(engine: Engine) -> None:
    found, _ = run(engine, {GUEST: IDS, "bank": ["x", "y"]})
    assert isinstance(found[GUEST], JobFailed)


def altered(kind: type[Message], **fields: Any) -> Change:
    """Other contents in the last piece of a kind; a field's value may be a function of the one it replaces."""

    def change(message: Message) -> list[Message]:
        if not isinstance(message, kind):
            return [message]
        new = {name: value(getattr(message, name)) if callable(value) else value for name, value in fields.items()}
        return [replace(message, **new)]

    return change


def repeated(kind: type[Message]) -> Change:
    return lambda message: [message] * 3 if isinstance(message, kind) else [message]


def dropped(kind: type[Message]) -> Change:
    return lambda message: [] if isinstance(message, kind) else [message]


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(
    ("party", "change", "words"),
    [
        ("bank", altered(DoublyBlindedIds, values=b""), "pieces without any"),
        ("bank", altered(DoublyBlindedIds, values=lambda v: v[:-1]), "another length"),
        ("bank", altered(DoublyBlindedIds, values=lambda v: v + bytes(16)), "more in the alignment"),
        ("bank", altered(DoublyBlindedIds, values=lambda v: bytes(len(v))), "the same id twice"),
        ("bank", repeated(DoublyBlindedIds), "more in the alignment"),
        ("bank", dropped(DoublyBlindedIds), "another number of ids"),
        ("bank", altered(BlindedIds, points=lambda v: v[:32] * (len(v) // 32)), "the same id twice"),
        ("bank", altered(BlindedIds, group="another"), "blinds ids in another"),
        ("bank", repeated(BlindedIds), "more in the alignment"),
        ("bank", altered(AlignmentOffer, rows=4), "another length"),
        ("bank", altered(AlignmentOffer, rows=5), "another length"),
        ("bank", altered(AlignmentOffer, rows=2), "more in the alignment"),
        ("bank", altered(AlignmentOffer, rows=0), "says that it has 0 rows"),
        ("bank", altered(AlignmentOffer, rows=10**9), "says that it has 1000000000 rows"),
        (GUEST, repeated(BlindedIds), "more in the alignment"),
        (GUEST, dropped(BlindedIds), "another number of ids"),
        (GUEST, altered(BlindedIds, points=lambda v: v + v), "more in the alignment"),
        (GUEST, altered(AlignmentOffer, rows=-1), "says that it has -1 rows"),
        (GUEST, altered(CommonRows, positions=b""), "pieces without any"),
        (GUEST, altered(CommonRows, positions=b"\0\0\0\1\0"), "part of a position"),
        (GUEST, altered(CommonRows, positions=b"\0\0\0\3"), "no selection"),
        (GUEST, altered(CommonRows, positions=b"\0\0\0\1" * 2), "no selection"),
        (GUEST, repeated(CommonRows), "more in the alignment"),
        (GUEST, dropped(CommonRows), "no selection"),
    ],
)
def test_a_peer_that_does_not_keep_to_the_protocol(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, group: str, party: str, change: Change, words: str
) -> None:
    restricted(monkeypatch, group)
    found, _ = run(engine, {GUEST: IDS, "bank": IDS}, **{party: change})
    error = found["bank" if party == GUEST else GUEST]
    assert isinstance(error, ProtocolError), error
    assert words in str(error)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("party", [GUEST, "bank"])
def test_what_is_no_element_is_refused_by_its_place(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, group: str, party: str
) -> None:
    restricted(monkeypatch, group)
    chunks = [0]

    def change(message: Message) -> list[Message]:
        if not isinstance(message, BlindedIds):
            return [message]
        chunks[0] += 1
        bad = message.points[:32] + bytes(32) + message.points[64:]
        return [replace(message, points=bad) if chunks[0] == 2 else message]

    tables = {GUEST: [f"id{n}" for n in range(10)], "bank": [f"id{n}" for n in range(10)]}
    found, _ = run(engine, tables, **{party: change})
    error = found["bank" if party == GUEST else GUEST]
    assert isinstance(error, InvalidPoint)
    assert "element 5 is" in str(error)


def test_a_party_reads_no_further_than_what_is_too_much(engine: Engine) -> None:
    party, read = Party(Wire(), "bank", ("bank",)), [0]

    def endless(_sender: str, kind: type[Message]) -> Iterator[Message]:
        if kind is AlignmentOffer:
            yield AlignmentOffer(curve.groups(), 8)
            return
        points = curve.hash_to_group([*IDS, "d"], b"job", curve.groups()[0])
        while True:
            read[0] += 1
            yield BlindedIds(curve.groups()[0], points)

    party.recv_stream = endless  # type: ignore[method-assign]
    with pytest.raises(ProtocolError, match="shop sent more"):
        align.host(party, engine, IDS)  # type: ignore[arg-type]
    assert read[0] == 3


def test_a_restart_sends_the_same_again(engine: Engine) -> None:
    tables = {GUEST: IDS, "bank": ["c", "a", "x"]}
    (first, one), (second, other) = (run(engine, tables) for _ in range(2))
    assert {name: party.sent for name, party in one.items()} == {name: party.sent for name, party in other.items()}
    for name in tables:
        np.testing.assert_array_equal(first[name], second[name])
