"""Messages on their way from any thread to the I/O thread, and how many of them there may be."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from fedbus.broker.base import Outgoing, refusal
from fedbus.errors import BrokerError, Congested

WINDOW = 500
WINDOW_BYTES = 2 * 1024**2
# Messages that wait after a nack leave the window, so that one full queue does not hold up all others.
BUFFER = 4 * WINDOW
BUFFER_BYTES = 2 * WINDOW_BYTES


@dataclass(slots=True, eq=False)
class Pending:
    """A message that is not confirmed yet.

    Attributes:
        since: when it was handed over, seconds of the monotonic clock.
        nacked: when it was first nacked.
        losses: how many connections were lost while it was the first that was not confirmed.
    """

    message: Outgoing
    future: Future[None]
    since: float
    attempts: int = 0
    nacked: float = 0.0
    losses: int = 0


class Intake:
    """Where publishers hand messages over; it counts them until they are settled. For any thread."""

    def __init__(self) -> None:
        self._room = threading.Condition()
        self._held = 0
        self._held_bytes = 0
        self._waiters = 0
        self._error: BrokerError | None = None
        self._incoming: deque[Pending] = deque()

    def put(self, message: Outgoing, *, wait: bool, bounded: bool) -> Future[None]:
        """Hand a message over; the future has failed already where it cannot be.

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

    def is_full(self, size: int) -> bool:
        """Whether a message of so many bytes would have to wait for room."""
        with self._room:
            return self._full(size)

    def take(self) -> list[Pending]:
        """What was handed over since the last call."""
        return [self._incoming.popleft() for _ in range(len(self._incoming))]

    def release(self, settled: Sequence[Pending]) -> None:
        """These make room."""
        with self._room:
            self._held -= len(settled)
            self._held_bytes -= sum(len(pending.message.body) for pending in settled)
            # Publishers are woken for many messages at a time: threads that take turns at each one are far slower.
            if self._waiters and 2 * self._held <= BUFFER and 2 * self._held_bytes <= BUFFER_BYTES:
                self._room.notify_all()

    def drain(self, timeout: float) -> int:
        """Wait until all are settled, at most `timeout` seconds; how many are not."""
        with self._room:
            self._waiters += 1
            self._room.wait_for(lambda: not self._held, timeout)
            self._waiters -= 1
            return self._held

    def shut(self, error: BrokerError | None) -> None:
        """Let every further publication fail with an error; None to take them again."""
        with self._room:
            self._error = error
            self._room.notify_all()

    def _admit(self, pending: Pending, *, wait: bool, bounded: bool) -> BrokerError | None:
        size = len(pending.message.body)
        with self._room:
            if bounded and self._full(size):
                if not wait:
                    return Congested(f"{self._held} messages wait for RabbitMQ to confirm them already")
                self._waiters += 1
                self._room.wait_for(lambda: not self._full(size))
                self._waiters -= 1
            if self._error is None:
                self._held += 1
                self._held_bytes += size
                self._incoming.append(pending)
            return self._error

    def _full(self, size: int) -> bool:
        return self._error is None and (
            self._held >= BUFFER or (self._held > 0 and self._held_bytes + size > BUFFER_BYTES)
        )
