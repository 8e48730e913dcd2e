"""Messages are published with confirms.
A window bounds the unconfirmed ones, and what is nacked or lost is published again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import structlog
from pika.exceptions import ChannelClosedByBroker  # type: ignore[import-untyped]

from fedbus import metrics
from fedbus.broker.base import Outgoing
from fedbus.broker.rabbitmq.detours import MUTE_SECONDS, Detours
from fedbus.broker.rabbitmq.intake import Intake, Pending
from fedbus.broker.rabbitmq.loop import IoThread
from fedbus.broker.rabbitmq.way import Answer, Way
from fedbus.broker.rabbitmq.window import Window
from fedbus.errors import AccessRefused, BrokerError, Nacked, Unroutable
from fedbus.retry import delay

log = structlog.get_logger(__name__)

MAX_LOSSES = 5
# Between looks at what is not confirmed.
_LOOK_SECONDS = 1.0


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
        self._window = Window(self._intake)
        self._detours = Detours(self._window, user, self)
        self._resting: set[Pending] = set()
        self._looking = False
        # When the broker last took messages at all, monotonic; None while it does not.
        self._open_since: float | None = None
        self._connection: Any = None
        self._way: Way | None = None

    def publish(self, messages: Sequence[Outgoing], *, wait: bool = True) -> list[Future[None]]:
        """Publish messages; see `base.Broker.publish_all`."""
        # The I/O thread makes the room that others wait for.
        return self._put(messages, wait=wait, bounded=not wait or not self._io.is_current)

    def accept(self, message: Outgoing) -> Future[None]:
        """Publish without waiting and whatever the room, for what is bounded otherwise,
        as dead letters are by prefetch.
        """
        return self._put([message], wait=False, bounded=False)[0]

    def flush(self, timeout: float) -> int:
        """Wait until all messages are confirmed or failed, `timeout` seconds at most. Return how many are not."""
        return self._intake.drain(timeout)

    def shut(self, error: BrokerError | None) -> None:
        """Let every further publication fail with this error; with None, take publications again."""
        self._intake.shut(error)

    def fail_all(self, error: BrokerError) -> None:
        """Fail what is not confirmed, and whatever is published from now on."""
        self.shut(error)
        self._detours.down()
        failed = [*self._window.clear(), *self._intake.take(), *self._resting]
        self._resting.clear()
        self._settle(failed, error)

    def up(self, connection: Any) -> None:
        """Take note that a connection was made."""
        self._connection = connection
        self._set_blocked(False)
        connection.add_on_connection_blocked_callback(lambda *_: self._set_blocked(True))
        connection.add_on_connection_unblocked_callback(lambda *_: self._set_blocked(False))
        self._open(connection)

    def down(self) -> None:
        """Take note that the connection was lost. What is not confirmed is published again, in order.

        A message that makes the broker end the connection would be published first for ever. The first message that
        is not confirmed is suspect: at its second loss messages are published one at a time, so that others before
        the culprit are confirmed, and after MAX_LOSSES it is given up.
        """
        self._connection = self._way = None
        self._detours.down()
        blamed = self._window.take_back()
        if not blamed:
            return
        first = blamed[0]
        first.losses += 1
        if first.losses >= MAX_LOSSES:
            self._window.take_out(first)
            text = f"the connection was lost {first.losses} times while it was being published"
            log.error("message given up", message_id=first.message.message_id, why=text)
            self._settle([first], Nacked(f"message {first.message.message_id} on {first.message.exchange}: {text}"))
        elif first.losses > 1:
            self._window.suspect(blamed)

    def switch(self, way: Way) -> None:
        """Use another main channel; see `detours.Main`."""
        self._window.take_back()
        if self._way is not None:
            self._way.leave()
        self._take(way)

    def conclude(self, done: list[Pending], answer: Answer) -> None:
        """Take note of answers; see `detours.Main`."""
        if answer.error is None:
            now = time.monotonic()
            for pending in done:
                metrics.publish_confirm.observe(now - pending.since)
        if isinstance(answer.error, Nacked):
            for pending in done:
                self._rest(pending, str(answer.error))
        else:
            self._settle(done, answer.error)

    def refuse(self, pending: Pending, error: AccessRefused) -> None:
        """Take note that a message cannot be published; see `detours.Main`."""
        self._settle([pending], error)

    def _put(self, messages: Sequence[Outgoing], *, wait: bool, bounded: bool) -> list[Future[None]]:
        futures: list[Future[None]] = []
        for message in messages:
            if wait and bounded and futures and self._intake.is_full(message):
                # Room is made once those before it are on their way.
                self._io.post(self.pump)
            futures.append(self._intake.put(message, wait=wait, bounded=bounded))
        self._io.post(self.pump)
        return futures

    def _open(self, connection: Any) -> None:
        self._way = Way(connection, self._user, opened=self._on_open, answered=self._on_answer, closed=self._on_closed)

    def _on_open(self, way: Way) -> None:
        self._take(way)
        self.pump()

    def _take(self, way: Way) -> None:
        way.answered, way.closed = self._on_answer, self._on_closed
        self._way = way
        self._window.begin(way.tag + 1)

    def pump(self) -> None:
        """Publish as much as there is room for."""
        self._window.put(self._intake.take())
        if self._way is None or not self._way.is_open:
            return
        with self._connection.gather():
            while (pending := self._window.next()) is not None:
                self._send(self._way, pending)
            self._detours.serve(self._connection)

    def _send(self, way: Way, pending: Pending) -> None:
        try:
            tag = way.publish(pending)
        except AccessRefused as error:
            self._settle([pending], error)
            return
        self._window.add(tag, pending)
        if not self._looking:
            self._looking = True
            self._io.later(_LOOK_SECONDS, self._look)

    def _set_blocked(self, blocked: bool) -> None:
        self._open_since = None if blocked else time.monotonic()
        if blocked:
            # Answers that come after the pause tell nothing of who was slow.
            self._detours.end_trials()

    def _look(self) -> None:
        """See to messages that are not confirmed, unless the broker takes nothing from anybody."""
        self._looking = self._window.oldest is not None
        if not self._looking:
            self._detours.end_trials()
            return
        self._io.later(_LOOK_SECONDS, self._look)
        since = time.monotonic() - MUTE_SECONDS
        is_open = self._connection is not None and self._connection.is_open
        if is_open and self._open_since is not None and self._open_since <= since:
            self._detours.look(self._connection, since)

    def _on_answer(self, _: Way, answer: Answer) -> None:
        self.conclude(self._window.answered(answer.tag, multiple=answer.multiple), answer)
        self.pump()

    def _on_closed(self, _: Way, reason: ChannelClosedByBroker) -> None:
        self._way = None
        self._detours.end_trials()
        blamed = self._window.take_back()
        if len(blamed) == 1:
            self._window.take_out(blamed[0])
            self.blame(blamed[0], reason)
        else:
            # The broker does not say which message it objects to: each is published alone until that one is found.
            self._window.suspect(blamed)
        self._io.later(0.0 if blamed else delay(1), partial(self._reopen, self._connection))

    def _reopen(self, connection: Any) -> None:
        # A connection made since has a channel of its own, or is about to.
        if connection is self._connection and connection.is_open:
            self._open(connection)

    def blame(self, pending: Pending, reason: ChannelClosedByBroker) -> None:
        """Take note that a channel was closed because of a message; see `detours.Main`."""
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
        self._intake.refused(pending.lane)
        self._resting.add(pending)
        self._io.later(seconds, lambda: self._wake(pending))

    def _wake(self, pending: Pending) -> None:
        if pending in self._resting:
            self._resting.remove(pending)
            self._window.put([pending])
            self.pump()

    def _settle(self, settled: list[Pending], error: BrokerError | None) -> None:
        for pending in settled:
            if error is None:
                pending.future.set_result(None)
            else:
                pending.future.set_exception(error)
        self._intake.release(settled)
