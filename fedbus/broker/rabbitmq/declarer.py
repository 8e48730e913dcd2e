"""Exchanges and queues are declared here, and declared again after each reconnection.
All of it runs on the I/O thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import structlog
from pika.exceptions import ChannelClosedByBroker  # type: ignore[import-untyped]

from fedbus.broker.rabbitmq.loop import IoThread
from fedbus.broker.rabbitmq.mender import Mender
from fedbus.broker.rabbitmq.steps import Steps, exchange_steps, look_step, queue_steps
from fedbus.errors import AccessRefused, BrokerError, ConnectionLost, Unroutable
from fedbus.retry import delay
from fedbus.topology import Queue

log = structlog.get_logger(__name__)


def as_broker_error(reason: BaseException, subject: str) -> BrokerError:
    """Say what the closing of a channel means to the caller."""
    if not isinstance(reason, ChannelClosedByBroker):
        return ConnectionLost(f"{subject}: the connection was lost")
    text = f"{subject}: {reason.reply_text}"
    match reason.reply_code:
        case 406 if "inequivalent arg" in reason.reply_text:
            remedy = "another version declared it: once it is empty, `rabbitmqctl delete_queue` it and start again"
            return AccessRefused(f"{text}; {remedy}")
        case 403 | 406:
            return AccessRefused(text)
        case 404:
            return Unroutable(text)
        case _:
            return ConnectionLost(text)


_NOT_FOUND = 404


class Request:
    """Queues that a caller wants to have declared.

    Attributes:
        error: why it is not done yet.
    """

    def __init__(self, queues: Sequence[Queue]) -> None:
        self.queues = tuple(queues)
        self.future: Future[None] = Future()
        self.error: BrokerError | None = None
        self.attempts = 0

    def finish(self, error: BrokerError | None) -> None:
        """Tell the caller, who may have given up meanwhile or been told already."""
        if not self.future.done() and self.future.set_running_or_notify_cancel():
            if error is None:
                self.future.set_result(None)
            else:
                self.future.set_exception(error)


class Declarer:
    """The queues that were declared over one broker, and those that are still to be.

    Args:
        mender: sees to quorum queues that are there and do not work.
    """

    def __init__(self, io: IoThread, mender: Mender) -> None:
        self._io = io
        self._mender = mender
        self._connection: Any = None
        self._remembered: dict[str, Queue] = {}
        self._waiting: list[Request] = []
        self._exchanges_done = False

    def up(self, connection: Any, ready: Callable[[], None]) -> None:
        """Take note that a connection was made:
        declare all again, and then call `ready`, also where some could not be declared.
        """
        self._connection = connection
        self._mender.up(connection)
        self._exchanges_done = False
        again = [Request((queue,)) for queue in self._remembered.values()]
        left = len(again)

        def one_done(_: Future[None]) -> None:
            nonlocal left
            left -= 1
            if left == 0 and connection.is_open:
                ready()

        for request in again:
            request.future.add_done_callback(one_done)
            self._run(request, once=True)
        if not again:
            ready()
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            self._run(request)

    def down(self) -> None:
        """Take note that the connection was lost."""
        self._connection = None
        self._mender.down()

    def declare(self, request: Request) -> None:
        """Declare queues and remember them, at once or as soon as there is a connection."""
        if self._connection is None:
            self._waiting.append(request)
        else:
            self._run(request)

    def delete(self, name: str, filled: bool, gone: Callable[[bool], None]) -> None:
        """Forget a queue, and delete it if nobody uses it and, unless it may be filled, if it is empty.

        Args:
            gone: called with whether it is not there any more.
        """
        self._remembered.pop(name, None)
        if self._connection is None:
            gone(False)
            return
        kept = False

        # Quorum queues do not know the flags if_unused and if_empty: asking for them ends the whole connection.
        def look(channel: Any, then: Callable[[Any], None]) -> None:
            look_step(name)(channel, partial(decide, channel, then))

        def decide(channel: Any, then: Callable[[Any], None], frame: Any) -> None:
            nonlocal kept
            kept = bool(frame.method.consumer_count or (frame.method.message_count and not filled))
            if kept:
                then(frame)
            else:
                channel.queue_delete(name, callback=then)

        def done(reason: BaseException | None) -> None:
            absent = isinstance(reason, ChannelClosedByBroker) and reason.reply_code == _NOT_FOUND
            if reason is not None and not absent:
                log.info("queue not deleted; it stays until it expires", queue=name, why=str(reason))
            gone(absent or (reason is None and not kept))

        Steps(self._connection, [look], done)

    def _run(self, request: Request, *, once: bool = False) -> None:
        if request.future.done():
            return
        if self._connection is None or not self._connection.is_open:
            self._later(request)
        elif self._exchanges_done and request.queues:
            self._run_queues(request, once=once)
        else:
            Steps(self._connection, exchange_steps(), partial(self._on_exchanges, request, once))

    def _on_exchanges(self, request: Request, once: bool, reason: BaseException | None) -> None:
        error = None if reason is None else as_broker_error(reason, "exchanges")
        # Who may not declare exchanges uses those that are there.
        if error is None or (isinstance(error, AccessRefused) and request.queues):
            self._exchanges_done = True
            self._run_queues(request, once=once)
        else:
            self._on_error(request, error, once=once)

    def _run_queues(self, request: Request, *, once: bool) -> None:
        doubtful = [queue for queue in request.queues if queue.is_quorum]
        if once or not doubtful:
            self._make(request, once, doubtful)
            return
        # One that this declaration makes is sound, and the message that asks it would only be in the way.
        found: list[Queue] = []
        left = len(doubtful)

        def looked(queue: Queue, reason: BaseException | None) -> None:
            nonlocal left
            left -= 1
            if reason is None:
                found.append(queue)
            if left == 0:
                self._make(request, once, found)

        for queue in doubtful:
            Steps(self._connection, [look_step(queue.name)], partial(looked, queue))

    def _make(self, request: Request, once: bool, doubtful: Sequence[Queue]) -> None:
        if self._connection is None:
            self._later(request)
            return
        idle: list[Queue] = []
        steps = [step for queue in request.queues for step in queue_steps(queue, idle)]

        def done(reason: BaseException | None) -> None:
            self._on_queues(request, once, [queue for queue in idle if queue in doubtful], reason)

        Steps(self._connection, steps, done)

    def _on_queues(self, request: Request, once: bool, asked: list[Queue], reason: BaseException | None) -> None:
        if reason is not None:
            names = ", ".join(queue.name for queue in request.queues)
            self._on_error(request, as_broker_error(reason, f"queue {names}"), once=once)
            return
        for queue in request.queues:
            self._remembered[queue.name] = queue
        if once:
            # Whoever consumes from other queues does not wait for what follows.
            request.finish(None)
            request = Request(request.queues)
        if asked:
            self._mender.check(asked, partial(self._on_checked, request))
        else:
            request.finish(None)

    def _on_checked(self, request: Request, why: str | None) -> None:
        if why is None or not all(queue.name in self._remembered for queue in request.queues):
            request.finish(None)
        else:
            request.error = ConnectionLost(why)
            self._later(request)

    def _on_error(self, request: Request, error: BrokerError, *, once: bool) -> None:
        request.error = error
        if once:
            # Consumers of the other queues do not wait for this one.
            request.finish(error)
            log.error("a queue could not be declared again after the reconnection", error=str(error))
            request = Request(request.queues)
        if isinstance(error, AccessRefused):
            request.finish(error)
        else:
            self._later(request)

    def _later(self, request: Request) -> None:
        """Try again: when the connection is back, or after a pause where it is there."""
        if self._connection is None or not self._connection.is_open:
            self._waiting.append(request)
        else:
            request.attempts += 1
            self._io.later(delay(request.attempts), partial(self._run, request))
