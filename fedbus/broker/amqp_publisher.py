"""Publishing with confirms: a window of unconfirmed messages, what is nacked or lost is published again."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import structlog
from pika import BasicProperties  # type: ignore[import-untyped]
from pika.exceptions import AMQPError, ChannelClosedByBroker  # type: ignore[import-untyped]
from pika.spec import Basic  # type: ignore[import-untyped]

from fedbus import metrics
from fedbus.broker.amqp_loop import IoThread
from fedbus.broker.base import MAX_MESSAGE_BYTES, Outgoing
from fedbus.errors import AccessRefused, BrokerError, Nacked, Unroutable
from fedbus.retry import delay

log = structlog.get_logger(__name__)

WINDOW = 500
WINDOW_BYTES = 64 * 1024**2
# Messages that wait after a nack leave the window, so that one full queue does not hold up all others.
BUFFER = 4 * WINDOW
BUFFER_BYTES = 2 * WINDOW_BYTES

_PERSISTENT = 2


@dataclass(slots=True, eq=False)
class Pending:
    """A message that is not confirmed yet.

    Attributes:
        since: when it was handed over, seconds of the monotonic clock.
        nacked: when it was first nacked.
    """

    message: Outgoing
    future: Future[None]
    since: float
    attempts: int = 0
    nacked: float = 0.0


class Publisher:
    """The publishing half of a connection. `publish`, `flush` and `shut` are for any thread, the rest for I/O.

    Args:
        user: the broker refuses a message whose user is not the connection's.
        patience: for how long a nacked message is tried again (seconds).
    """

    def __init__(self, io: IoThread, user: str, patience: float) -> None:
        self._io = io
        self._user = user
        self._patience = patience
        self._room = threading.Condition()
        self._held = 0
        self._held_bytes = 0
        self._waiters = 0
        self._error: BrokerError | None = None
        self._incoming: deque[Pending] = deque()
        self._ready: deque[Pending] = deque()
        self._unconfirmed: dict[int, Pending] = {}
        self._unconfirmed_bytes = 0
        self._resting: set[Pending] = set()
        self._suspects = 0
        self._tag = 0
        self._lowest = 1
        self._connection: Any = None
        self._channel: Any = None

    def publish(self, message: Outgoing) -> Future[None]:
        """See `base.Broker.publish`."""
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()
        size = len(message.body)
        if size > MAX_MESSAGE_BYTES:
            future.set_exception(
                AccessRefused(f"a message of {size} bytes is too long: {MAX_MESSAGE_BYTES} are allowed")
            )
            return future
        with self._room:
            # The I/O thread makes the room that others wait for.
            if self._full(size) and not self._io.is_current:
                self._waiters += 1
                self._room.wait_for(lambda: not self._full(size))
                self._waiters -= 1
            if (error := self._error) is None:
                self._held += 1
                self._held_bytes += size
                self._incoming.append(Pending(message, future, time.monotonic()))
        if error is not None:
            future.set_exception(error)
        else:
            self._io.post(self._pump)
        return future

    def flush(self, timeout: float) -> int:
        """Wait until all is confirmed or failed, at most `timeout` seconds; how many are not."""
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

    def fail_all(self, error: BrokerError) -> None:
        """Fail what is not confirmed, and whatever is published from now on."""
        self.shut(error)
        failed = [*self._unconfirmed.values(), *self._ready, *self._incoming, *self._resting]
        self._unconfirmed.clear()
        self._unconfirmed_bytes = 0
        self._ready.clear()
        self._incoming.clear()
        self._resting.clear()
        self._settle(failed, error)

    def up(self, connection: Any) -> None:
        """A connection was made."""
        self._connection = connection
        connection.channel(on_open_callback=self._on_channel)

    def down(self) -> None:
        """The connection was lost: what is not confirmed is published again, in order."""
        self._connection = self._channel = None
        self._take_back()

    def _full(self, size: int) -> bool:
        return self._error is None and (
            self._held >= BUFFER or (self._held > 0 and self._held_bytes + size > BUFFER_BYTES)
        )

    def _on_channel(self, channel: Any) -> None:
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_return_callback(self._on_return)

        def selected(_: Any) -> None:
            self._channel = channel
            self._tag, self._lowest = 0, 1
            self._pump()

        channel.confirm_delivery(self._on_confirm, callback=selected)

    def _pump(self) -> None:
        while self._incoming:
            self._ready.append(self._incoming.popleft())
        if self._channel is None or not self._ready:
            return
        with self._connection.gather():
            while self._ready and self._has_window(len(self._ready[0].message.body)):
                self._send(self._ready.popleft())

    def _has_window(self, size: int) -> bool:
        if not self._unconfirmed:
            return True
        return not self._suspects and len(self._unconfirmed) < WINDOW and self._unconfirmed_bytes + size <= WINDOW_BYTES

    def _send(self, pending: Pending) -> None:
        message = pending.message
        tag = self._tag + 1
        properties = BasicProperties(
            content_type="application/msgpack",
            delivery_mode=_PERSISTENT,
            message_id=message.message_id,
            user_id=self._user,
            # A returned message names no delivery tag, and a message sent again has the same id.
            correlation_id=str(tag),
            headers=dict(message.headers) or None,
        )
        try:
            self._channel.basic_publish(
                message.exchange, message.routing_key, message.body, properties, message.mandatory
            )
        except AMQPError as error:
            self._settle([pending], AccessRefused(f"message {message.message_id} cannot be encoded: {error}"))
            return
        self._tag = tag
        self._unconfirmed[tag] = pending
        self._unconfirmed_bytes += len(message.body)

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        tag: int = method.delivery_tag
        if method.multiple:
            done = self._pop(range(self._lowest, tag + 1))
            self._lowest = tag + 1
        else:
            done = self._pop((tag,))
            if tag == self._lowest:
                self._lowest += 1
        if isinstance(method, Basic.Ack):
            now = time.monotonic()
            for pending in done:
                metrics.publish_confirm.observe(now - pending.since)
            self._settle(done, None)
        else:
            for pending in done:
                self._rest(pending, "the broker does not take it")
        self._pump()

    def _on_return(self, _: Any, method: Any, properties: Any, __: bytes) -> None:
        self._settle(
            self._pop((int(properties.correlation_id),)),
            Unroutable(f"no queue takes {method.exchange} {method.routing_key}: {method.reply_text}"),
        )

    def _on_channel_closed(self, _: Any, reason: BaseException) -> None:
        if not isinstance(reason, ChannelClosedByBroker):
            return
        self._channel = None
        before = self._suspects
        unconfirmed = self._take_back()
        if unconfirmed == 1:
            self._blame(self._ready.popleft(), reason)
            self._suspects = max(0, before - 1)
        elif unconfirmed:
            # The broker does not say which message it objects to: each is published alone until that one is found.
            self._suspects = unconfirmed
        self._io.later(0.0 if unconfirmed else delay(1), self._reopen)

    def _reopen(self) -> None:
        if self._connection is not None and self._channel is None and self._connection.is_open:
            self._connection.channel(on_open_callback=self._on_channel)

    def _blame(self, pending: Pending, reason: ChannelClosedByBroker) -> None:
        text = f"message {pending.message.message_id} on {pending.message.exchange}: {reason.reply_text}"
        match reason.reply_code:
            case 404:
                self._settle([pending], Unroutable(text))
            case 403 | 406:
                self._settle([pending], AccessRefused(text))
            case _:
                self._rest(pending, reason.reply_text)

    def _rest(self, pending: Pending, why: str) -> None:
        pending.attempts += 1
        now = time.monotonic()
        pending.nacked = pending.nacked or now
        waited = now - pending.nacked
        seconds = delay(pending.attempts)
        if waited + seconds > self._patience:
            self._settle([pending], Nacked(f"{pending.message.exchange} {pending.message.routing_key}: {why}"))
            return
        if pending.attempts == 1:
            log.warning(
                "message not taken by RabbitMQ (a queue is full or fails over); it will be published again",
                message_id=pending.message.message_id,
                why=why,
            )
        metrics.retries.labels("publish").inc()
        self._resting.add(pending)
        self._io.later(seconds, lambda: self._wake(pending))

    def _wake(self, pending: Pending) -> None:
        if pending in self._resting:
            self._resting.remove(pending)
            self._ready.append(pending)
            self._pump()

    def _pop(self, tags: Iterable[int]) -> list[Pending]:
        popped = [pending for tag in tags if (pending := self._unconfirmed.pop(tag, None)) is not None]
        self._unconfirmed_bytes -= sum(len(pending.message.body) for pending in popped)
        self._suspects = max(0, self._suspects - len(popped))
        return popped

    def _take_back(self) -> int:
        count = len(self._unconfirmed)
        self._ready.extendleft(reversed(self._unconfirmed.values()))
        self._unconfirmed.clear()
        self._unconfirmed_bytes = 0
        return count

    def _settle(self, settled: list[Pending], error: BrokerError | None) -> None:
        for pending in settled:
            if error is None:
                pending.future.set_result(None)
            else:
                pending.future.set_exception(error)
        with self._room:
            self._held -= len(settled)
            self._held_bytes -= sum(len(pending.message.body) for pending in settled)
            # Publishers are woken for many messages at a time: threads that take turns at each one are far slower.
            if self._waiters and 2 * self._held <= BUFFER and 2 * self._held_bytes <= BUFFER_BYTES:
                self._room.notify_all()
