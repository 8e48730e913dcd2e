"""What a party's hiding of vectors asks of the world, without a broker: a session that remembers, and who is who."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fedbus.algorithms.sums.layout import SumLayout
from fedbus.algorithms.sums.messages import PeerKeys
from fedbus.algorithms.sums.rules import SumRules
from fedbus.crypto.masking import SecretStream
from fedbus.errors import PeerSilent, ProtocolError
from fedbus.identity import Identity, Roster
from parties.sums.trust import Trust

NAMES = ("bob", "alice", "carol")
RULES = SumRules.of("masked", NAMES)


@dataclass(frozen=True)
class Order:
    """What any algorithm's order says of a sum."""

    window: int
    slot: int
    members: tuple[str, ...]


@dataclass
class FakeSession:
    """A session whose messages are given, and which remembers what is done in which order.

    Attributes:
        given: what comes, by kind and session round; nothing else does.
        done: what was sent or made durable.
    """

    party: str
    job: str = "job-1"
    round: int = 5
    coordinator: str = "coordinator"
    spec: Any = field(default_factory=lambda: SimpleNamespace(parties=NAMES))
    given: dict[tuple[str, int], list[Any]] = field(default_factory=dict)
    done: list[tuple[str, Any]] = field(default_factory=list)

    def secret(self, label: str) -> SecretStream:
        return SecretStream(self.party.encode() * 16, label)

    def give(self, *messages: Any, round_: int | None = None) -> None:
        """Have the coordinator say something, in this session round where it is None."""
        self.given[messages[0].kind, self.round if round_ is None else round_] = list(messages)

    def recv(self, sender: str, kind: Any) -> Any:
        (message,) = self.recv_stream(sender, kind)
        return message

    def recv_stream(self, sender: str, kind: Any, round_: int | None = None) -> Iterator[Any]:
        assert sender == self.coordinator
        place = kind.kind, self.round if round_ is None else round_
        if place not in self.given:
            raise PeerSilent(f"{sender} says no {place}")
        yield from self.given[place]

    @contextlib.contextmanager
    def patience(self, seconds: float) -> Iterator[None]:
        self.done.append(("patience", seconds))
        yield

    def send(self, to: str, message: Any, *, ends: Any = None) -> None:
        assert to == self.coordinator
        self.done.append((message.kind, message if ends is None else (message, ends)))

    def send_stream(self, to: str, messages: Iterable[Any], count: int) -> None:
        assert to == self.coordinator
        pieces = list(messages)
        assert len(pieces) == count
        self.done.append((pieces[0].kind, pieces))


@dataclass
class FakeContributor:
    """A role that has the vectors of one task, "number"."""

    session: FakeSession
    layout: SumLayout
    hiding: Any = None

    @property
    def state(self) -> dict[str, Any]:
        return {**self.hiding.state, "own": 1}

    def checkpoint(self, round_: int | None = None) -> None:
        self.session.done.append(("checkpoint", self.session.round if round_ is None else round_))

    def sum_layout(self, task: str) -> SumLayout:
        if task != self.layout.task:
            raise ProtocolError(f"no task {task}")
        return self.layout


def trusts(folder: Path) -> dict[str, Trust]:
    """Identities of all, each with the roster of all."""
    identities = {name: Identity.create(folder / f"{name}.key") for name in NAMES}
    roster = Roster.of({name: identity.public for name, identity in identities.items()})
    return {name: Trust(name, identities[name], roster) for name in NAMES}


def peer_keys(given: dict[str, Any]) -> PeerKeys:
    """What the coordinator tells all once they have advertised keys."""
    parts = ([getattr(given[name], part) for name in NAMES] for part in ("channel", "keys", "signature"))
    return PeerKeys(NAMES, *(tuple(part) for part in parts))
