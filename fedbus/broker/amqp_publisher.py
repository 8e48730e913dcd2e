"""Publishing with confirms: a window of unconfirmed messages, what is nacked or lost is published again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import structlog
from pika import BasicProperties  # type: ignore[import-untyped]
from pika.exceptions import AMQPError, ChannelClosedByBroker  # type: ignore[import-untyped]
from pika.spec import Basic  # type: ignore[import-untyped]

from fedbus import metrics
from fedbus.broker.amqp_intake import WINDOW, WINDOW_BYTES, Intake, Pending
from fedbus.broker.amqp_loop import IoThread
from fedbus.broker.base import Outgoing
from fedbus.errors import AccessRefused, BrokerError, Nacked, Unroutable
from fedbus.retry import delay

log = structlog.get_logger(__name__)

MAX_LOSSES = 5

_PERSISTENT = 2


class Publisher:
    """The publishing half of a connection. `publish`, `accept`, `flush` and `shut` are for any thread, others for I/O.

    Args:
        user: the broker refuses a message whose user is not the connection's.
        patience: for how long a nacked message is tried again (seconds).
    """

    def __init__(self, io: IoThread, user: str, patience: float) -> None:
        self._io = io
        self._user = user
        self._patience = patience
        self._intake = Intake()
        self._ready: deque[Pending] = deque()
        self._unconfirmed: dict[int, Pending] = {}
        self._unconfirmed_bytes = 0
        self._resting: set[Pending] = set()
        self._suspects = 0
        self._tag = 0
        self._lowest = 1
        self._connection: Any = None
        self._channel: Any = None

    def publish(self, messages: Sequence[Outgoing], *, wait: bool = True) -> list[Future[None]]:
        """See `base.Broker.publish_all`."""
        # The I/O thread makes the room that others wait for.
        return self._put(messages, wait=wait, bounded=not wait or not self._io.is_current)

    def accept(self, message: Outgoing) -> Future[None]:
        """Publish without waiting and whatever the room: for what is bounded otherwise, as dead letters by prefetch."""
        return self._put([message], wait=False, bounded=False)[0]

    def flush(self, timeout: float) -> int:
        """Wait until all is confirmed or failed, at most `timeout` seconds; how many are not."""
        return self._intake.drain(timeout)

    def shut(self, error: BrokerError | None) -> None:
        """Let every further publication fail with an error; None to take them again."""
        self._intake.shut(error)

    def fail_all(self, error: BrokerError) -> None:
        """Fail what is not confirmed, and whatever is published from now on."""
        self.shut(error)
        failed = [*self._unconfirmed.values(), *self._ready, *self._intake.take(), *self._resting]
        self._unconfirmed.clear()
        self._unconfirmed_bytes = 0
        self._ready.clear()
        self._resting.clear()
        self._settle(failed, error)

    def up(self, connection: Any) -> None:
        """A connection was made."""
        self._connection = connection
        connection.channel(on_open_callback=self._on_channel)

    def down(self) -> None:
        """The connection was lost: what is not confirmed is published again, in order.

        A message that makes the broker end the connection would be published first for ever. The first message that
        is not confirmed is suspect: at its second loss messages are published one at a time, so that others before
        the culprit are confirmed, and after MAX_LOSSES it is given up.
        """
        self._connection = self._channel = None
        unconfirmed = self._take_back()
        if not unconfirmed:
            return
        first = self._ready[0]
        first.losses += 1
        if first.losses >= MAX_LOSSES:
            self._ready.popleft()
            text = f"the connection was lost {first.losses} times while it was being published"
            log.error("message given up", message_id=first.message.message_id, why=text)
            self._settle([first], Nacked(f"message {first.message.message_id} on {first.message.exchange}: {text}"))
        elif first.losses > 1:
            self._suspects = max(self._suspects, unconfirmed)

    def _put(self, messages: Sequence[Outgoing], *, wait: bool, bounded: bool) -> list[Future[None]]:
        futures: list[Future[None]] = []
        for message in messages:
            if wait and bounded and futures and self._intake.is_full(len(message.body)):
                # Room is made once those before it are on their way.
                self._io.post(self._pump)
            futures.append(self._intake.put(message, wait=wait, bounded=bounded))
        self._io.post(self._pump)
        return futures

    def _on_channel(self, channel: Any) -> None:
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_return_callback(self._on_return)

        def selected(_: Any) -> None:
            self._channel = channel
            self._tag, self._lowest = 0, 1
            self._pump()

        channel.confirm_delivery(self._on_confirm, callback=selected)

    def _pump(self) -> None:
        self._ready.extend(self._intake.take())
        if self._channel is None or not self._channel.is_open or not self._ready:
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
        except (AMQPError, ValueError) as error:
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
        self._io.later(0.0 if unconfirmed else delay(1), partial(self._reopen, self._connection))

    def _reopen(self, connection: Any) -> None:
        # A connection made since has a channel of its own, or is about to.
        if connection is self._connection and connection.is_open:
            connection.channel(on_open_callback=self._on_channel)

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
        # An event that one watcher's queue refuses is not tried again: whoever declared that queue could hold up all.
        if not pending.message.mandatory or waited + seconds > self._patience:
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
        self._intake.release(settled)
