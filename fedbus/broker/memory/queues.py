"""Queues of the in-process broker keep order, limits, prefetch and redelivery. Nothing here locks, for the hub does."""

from __future__ import annotations

import heapq
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from fedbus import topology
from fedbus.broker.base import Outgoing
from fedbus.errors import Nacked, Unroutable
from fedbus.topology import Queue


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as a queue keeps it.

    Attributes:
        number: its place in the queue; kept when it is given back, so that it is first again.
        returns: how many times it was delivered and came back.
    """

    number: int
    exchange: str
    routing_key: str
    body: bytes
    message_id: str
    user: str
    headers: Mapping[str, str]
    returns: int = 0


class Consumer(Protocol):
    """Something that takes messages from a queue."""

    def has_room(self) -> bool:
        """Whether it holds fewer messages than its prefetch."""

    def take(self, stored: Stored) -> None:
        """Receive one message."""


def matches(pattern: str, key: str) -> bool:
    """Return whether a routing key matches a topic pattern: `*` stands for one word, `#` for any number of words."""
    return _match(pattern.split("."), key.split("."))


def _match(pattern: Sequence[str], words: Sequence[str]) -> bool:
    if not pattern:
        return not words
    head, rest = pattern[0], pattern[1:]
    if head == "#":
        return any(_match(rest, words[skipped:]) for skipped in range(len(words) + 1))
    return bool(words) and head in ("*", words[0]) and _match(rest, words[1:])


def _policy(queue: str) -> dict[str, Any]:
    """What the policies say of a queue."""
    found = [policy["definition"] for policy in topology.policies() if re.match(policy["pattern"], queue)]
    return found[0] if found else {}


class MemoryQueue:
    """One queue: the messages that wait in it, and the consumers that take from it.

    Args:
        spec: name, bindings and arguments; arguments that the in-process broker does not know have no effect.
        owner: the connection that an exclusive queue belongs to.
    """

    def __init__(self, spec: Queue, owner: object | None) -> None:
        self.spec = spec
        self.owner = owner
        self.bindings = set(spec.bindings)
        self.consumers: list[Consumer] = []
        self.taken = 0
        self._ready: list[tuple[int, Stored]] = []
        self._bytes = 0
        self._numbers = itertools.count()
        self._policy = _policy(spec.name)
        self._max_length = self._bound("max-length")
        self._max_bytes = self._bound("max-length-bytes")
        self._limit: int | None = spec.arguments.get("x-delivery-limit")
        self._rejects = spec.arguments.get("x-overflow") == "reject-publish"
        self._single = bool(spec.arguments.get("x-single-active-consumer"))

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def dead_letter_exchange(self) -> str | None:
        """The exchange to which the queue gives what it gives up; None where such messages are dropped."""
        name = "dead-letter-exchange"
        exchange: str | None = self.spec.arguments.get(f"x-{name}") or self._policy.get(name)
        return exchange

    def routes(self, exchange: str, key: str) -> bool:
        """Return whether a message with this address belongs into the queue."""
        return any(exchange == bound and matches(pattern, key) for bound, pattern in self.bindings)

    def accepts(self, body: bytes) -> bool:
        """Return whether the queue takes another message. It does not where it is full and refuses what is new."""
        return not self._rejects or not self._over(len(self._ready) + 1, self._bytes + len(body))

    def put(self, stored: Stored) -> list[Stored]:
        """Append a message. Return those that were dropped from the head to make room."""
        self._push(replace(stored, number=next(self._numbers), returns=0))
        dropped = []
        while not self._rejects and self._ready and self._over(len(self._ready), self._bytes):
            dropped.append(self._pop())
        return dropped

    def give_back(self, stored: Stored) -> Stored | None:
        """Put a message back where it was. One that is over the delivery limit is returned instead."""
        self.taken -= 1
        stored = replace(stored, returns=stored.returns + 1)
        if self._limit is not None and stored.returns > self._limit:
            return stored
        self._push(stored)
        return None

    def dispatch(self) -> None:
        """Hand waiting messages in turn to consumers that have room;
        where a single one is active, to the first one only.
        """
        while self._ready and (consumer := self._next()) is not None:
            self.taken += 1
            consumer.take(self._pop())

    def _next(self) -> Consumer | None:
        for consumer in self.consumers[:1] if self._single else self.consumers:
            if consumer.has_room():
                if not self._single:
                    self.consumers.remove(consumer)
                    self.consumers.append(consumer)
                return consumer
        return None

    def _bound(self, name: str) -> int | None:
        """The lower one of what the queue's arguments and the policy say."""
        return min(
            (value for value in (self.spec.arguments.get(f"x-{name}"), self._policy.get(name)) if value), default=None
        )

    def _over(self, length: int, size: int) -> bool:
        return (self._max_length is not None and length > self._max_length) or (
            self._max_bytes is not None and size > self._max_bytes
        )

    def _push(self, stored: Stored) -> None:
        heapq.heappush(self._ready, (stored.number, stored))
        self._bytes += len(stored.body)

    def _pop(self) -> Stored:
        _, stored = heapq.heappop(self._ready)
        self._bytes -= len(stored.body)
        return stored


class Queues(dict[str, MemoryQueue]):
    """All queues by name; it carries messages into and between them."""

    def route(self, message: Outgoing, user: str) -> None:
        """Put a message into every queue bound for it.

        Raises:
            Nacked: one of them is full; the others have it.
            Unroutable: there is none.
        """
        targets = [q for q in self.values() if q.routes(message.exchange, message.routing_key)]
        if not targets and (message.mandatory or message.exchange not in topology.EXCHANGES):
            raise Unroutable(f"no queue takes {message.exchange} {message.routing_key}")
        stored = Stored(
            0,
            message.exchange,
            message.routing_key,
            bytes(message.body),
            message.message_id,
            user,
            dict(message.headers),
        )
        full = [queue.spec.name for queue in targets if not self._put(queue, stored)]
        if full:
            raise Nacked(f"queue {', '.join(full)} is full")

    def settle(self, queue: MemoryQueue, returned: Sequence[Stored]) -> None:
        """Give messages back to their queue, or to the dead letters, and hand on what waits."""
        for stored in returned:
            if over := queue.give_back(stored):
                self._dead_letter(queue, over, "delivery_limit")
        queue.dispatch()

    def _put(self, queue: MemoryQueue, stored: Stored) -> bool:
        if not queue.accepts(stored.body):
            return False
        for dropped in queue.put(stored):
            self._dead_letter(queue, dropped, "maxlen")
        queue.dispatch()
        return True

    def _dead_letter(self, queue: MemoryQueue, stored: Stored, reason: str) -> None:
        if queue.dead_letter_exchange is None:
            return
        cause = {
            "x-first-death-reason": reason,
            "x-first-death-queue": queue.spec.name,
            "x-first-death-exchange": stored.exchange,
        }
        message = Outgoing(
            queue.dead_letter_exchange,
            stored.routing_key,
            stored.body,
            stored.message_id,
            mandatory=False,
            headers={**cause, **stored.headers},
        )
        self.route(message, stored.user)
