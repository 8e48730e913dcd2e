"""The alignment against a peer that does not keep to it; that it finds the common rows is in the acceptance tests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fedbus.crypto.engine import Engine
from fedbus.crypto.masking import SecretStream
from fedbus.errors import ProtocolError
from fedbus.messages import BlindedIds, CommonRows, DoublyBlindedIds, Message
from parties import align

IDS = ["a", "b", "c"]


class Peer:
    """A session whose peer sends what a test says, piece by piece; how many pieces were read."""

    job, guest, hosts = "job-1", "shop", ("bank",)

    def __init__(self, pieces: Callable[[], Iterator[Message]], kind: type[Message]) -> None:
        self.pieces = pieces
        self.kind = kind
        self.read = 0

    def random(self, label: str) -> SecretStream:
        return SecretStream(b"s" * 32, label)

    def phase(self, _name: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def send_stream(self, _to: str, messages: Iterator[Message], _count: int) -> None:
        self.sent = list(messages)

    def recv_stream(self, _sender: str, kind: type[Message]) -> Iterator[Any]:
        if kind is not self.kind:
            # The peer's own ids: what this side sent, which are points of the group.
            yield from (BlindedIds(m.points) for m in self.sent if isinstance(m, BlindedIds))
            return
        for piece in self.pieces():
            self.read += 1
            assert self.read < 100, "read on after more had come than there can be"
            yield piece


def endless(message: Message) -> Callable[[], Iterator[Message]]:
    def pieces() -> Iterator[Message]:
        while True:
            yield message

    return pieces


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = Engine(0)
    yield made
    made.close()


@pytest.mark.parametrize("size", [0, 32, 32 * 100])
def test_a_guest_reads_no_more_doubly_blinded_ids_than_it_sent(engine: Engine, size: int) -> None:
    peer = Peer(endless(DoublyBlindedIds(bytes(size))), DoublyBlindedIds)
    with pytest.raises(ProtocolError, match="bank sent more in the alignment than there are rows"):
        align.guest(peer, engine, IDS)  # type: ignore[arg-type]
    assert peer.read <= 4


@pytest.mark.parametrize("size", [0, 4, 4 * 100])
def test_a_host_reads_no_more_positions_than_it_has_rows(engine: Engine, size: int) -> None:
    peer = Peer(endless(CommonRows(bytes(size))), CommonRows)
    with pytest.raises(ProtocolError, match="shop sent more in the alignment than there are rows"):
        align.host(peer, engine, IDS)  # type: ignore[arg-type]
    assert peer.read <= 4


@pytest.mark.parametrize("positions", [b"\0\0\0\1\0", b"\0\0\0\3", b"\0\0\0\1\0\0\0\1", b""])
def test_positions_that_are_no_selection_are_refused(engine: Engine, positions: bytes) -> None:
    peer = Peer(lambda: iter([CommonRows(positions)]), CommonRows)
    with pytest.raises(ProtocolError, match="shop sent"):
        align.host(peer, engine, IDS)  # type: ignore[arg-type]


def test_a_peer_with_more_ids_than_a_table_can_have(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(align, "MAX_ROWS", 5)
    peer = Peer(endless(BlindedIds(bytes(32 * 3))), BlindedIds)
    with pytest.raises(ProtocolError, match="shop sent more"):
        align.host(peer, engine, IDS)  # type: ignore[arg-type]
    assert peer.read == 2
