"""Messages pass from any thread to the I/O thread here, and it is counted how many are on their way."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from fedbus.broker.base import Outgoing, refusal
from fedbus.errors import BrokerError, Congested

# Fewer than what makes RabbitMQ stop to read the whole connection; see `detours.py`.
WINDOW = 190
WINDOW_BYTES = 2 * 1024**2
# Messages that wait after a nack leave the window, so that one full queue does not hold up all others.
BUFFER = 2000
BUFFER_BYTES = 2 * WINDOW_BYTES


# Exchange and routing key: messages of one lane go to the same queues, in order.
Lane = tuple[str, str]


@dataclass(slots=True, eq=False)
class Pending:
    """A message that the broker has not confirmed yet.

    Attributes:
        since: when it was handed over, seconds of the monotonic clock.
        sent: when it was last published.
        nacked: when it was first nacked.
        losses: how many connections were lost while it was the first that was not confirmed.
    """

    message: Outgoing
    future: Future[None]
    since: float
    sent: float = 0.0
    attempts: int = 0
    nacked: float = 0.0
    losses: int = 0

    @property
    def lane(self) -> Lane:
        return self.message.exchange, self.message.routing_key


@dataclass(slots=True)
class _Account:
    """How many messages are held, and how many bytes they are."""

    count: int = 0
    size: int = 0

    def add(self, count: int, size: int) -> None:
        self.count += count
        self.size += size

    def is_full(self, size: int) -> bool:
        return self.count >= BUFFER or (self.count > 0 and self.size + size > BUFFER_BYTES)

    @property
    def is_low(self) -> bool:
        return 2 * self.count <= BUFFER and 2 * self.size <= BUFFER_BYTES


class Intake:
    """Publishers hand messages over to this. It counts them until they are settled, and any thread may call it.

    Lanes share one bound; those of which the broker has refused a message share another, so that whoever lets a queue
    run full holds up no other; each that is set aside has its own.
    """

    def __init__(self) -> None:
        self._room = threading.Condition()
        self._shared = _Account()
        self._lanes: dict[Lane, _Account] = {}
        self._aside: set[Lane] = set()
        self._slow = _Account()
        self._refused: set[Lane] = set()
        self._waiters = 0
        self._error: BrokerError | None = None
        self._incoming: deque[Pending] = deque()

    def put(self, message: Outgoing, *, wait: bool, bounded: bool) -> Future[None]:
        """Hand a message over. Where that is not possible, its future has failed already.

        Args:
            wait: for room; False fails with Congested where there is none.
            bounded: False takes it without room too.
        """
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()
        pending = Pending(message, future, time.monotonic())
        if (error := refusal(message) or self._admit(pending, wait=wait, bounded=bounded)) is not None:
            future.set_exception(error)
        return future

    def is_full(self, message: Outgoing) -> bool:
        """Return whether a message would have to wait for room."""
        with self._room:
            return self._full((message.exchange, message.routing_key), len(message.body))

    def take(self) -> list[Pending]:
        """Return what was handed over since the last call."""
        return [self._incoming.popleft() for _ in range(len(self._incoming))]

    def release(self, settled: Sequence[Pending]) -> None:
        """Count these messages no more, which makes room for others."""
        with self._room:
            accounts = {id(self._shared): self._shared}
            for pending in settled:
                lane, size = pending.lane, len(pending.message.body)
                own, pool = self._lanes[lane], self._pool(lane)
                own.add(-1, -size)
                if pool is not None:
                    pool.add(-1, -size)
                account = own if pool is None else pool
                accounts[id(account)] = account
                if not own.count:
                    del self._lanes[lane]
                    self._refused.discard(lane)
            # Publishers are woken for many messages at a time: threads that take turns at each one are far slower.
            if self._waiters and any(account.is_low for account in accounts.values()):
                self._room.notify_all()

    def holds(self, lane: Lane) -> bool:
        """Return whether a message of this lane is not settled yet."""
        with self._room:
            return lane in self._lanes

    def set_aside(self, lane: Lane) -> None:
        """Count what is held of this lane for itself from now on, so that it holds up no other."""
        self._move(lane, self._aside.add)

    def bring_back(self, lane: Lane) -> None:
        """Count this lane with all others again."""
        self._move(lane, self._aside.discard)

    def refused(self, lane: Lane) -> None:
        """Take note that the broker does not take a message of this lane.
        The lane counts with others like it until it holds none.
        """
        self._move(lane, self._refused.add)

    def drain(self, timeout: float) -> int:
        """Wait until all messages are settled, `timeout` seconds at most. Return how many are not."""
        with self._room:
            self._waiters += 1
            self._room.wait_for(lambda: not self._lanes, timeout)
            self._waiters -= 1
            return sum(account.count for account in self._lanes.values())

    def shut(self, error: BrokerError | None) -> None:
        """Let every further publication fail with this error; with None, take publications again."""
        with self._room:
            self._error = error
            self._room.notify_all()

    def _admit(self, pending: Pending, *, wait: bool, bounded: bool) -> BrokerError | None:
        lane, size = pending.lane, len(pending.message.body)
        with self._room:
            if bounded and self._full(lane, size):
                if not wait:
                    held = self._account(lane).count
                    return Congested(f"{held} messages wait for RabbitMQ to confirm them already")
                self._waiters += 1
                self._room.wait_for(lambda: not self._full(lane, size))
                self._waiters -= 1
            if self._error is None:
                self._lanes.setdefault(lane, _Account()).add(1, size)
                if (pool := self._pool(lane)) is not None:
                    pool.add(1, size)
                self._incoming.append(pending)
            return self._error

    def _full(self, lane: Lane, size: int) -> bool:
        return self._error is None and self._account(lane).is_full(size)

    def _account(self, lane: Lane) -> _Account:
        pool = self._pool(lane)
        return self._lanes.get(lane, _Account()) if pool is None else pool

    def _pool(self, lane: Lane) -> _Account | None:
        """What a lane shares with others; None where it is set aside."""
        if lane in self._aside:
            return None
        return self._slow if lane in self._refused else self._shared

    def _move(self, lane: Lane, change: Callable[[Lane], None]) -> None:
        with self._room:
            held = self._lanes.get(lane, _Account())
            if (before := self._pool(lane)) is not None:
                before.add(-held.count, -held.size)
            change(lane)
            if (after := self._pool(lane)) is not None:
                after.add(held.count, held.size)
            self._room.notify_all()
