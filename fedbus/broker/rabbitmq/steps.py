"""Commands are given to the broker one after the other. Those that declare exchanges and queues are here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pika.exceptions import ChannelClosedByClient  # type: ignore[import-untyped]

from fedbus import topology
from fedbus.errors import ConnectionLost
from fedbus.topology import Queue

Step = Callable[[Any, Callable[[Any], None]], None]
Done = Callable[[BaseException | None], None]


class Steps:
    """Commands that are given one after the other, on a channel of their own.

    Args:
        steps: each is called with the channel and what to call with the broker's answer.
        done: called with the reason why the broker closed the channel or the connection was lost; None on success.
    """

    def __init__(self, connection: Any, steps: Sequence[Step], done: Done) -> None:
        self._steps = list(steps)
        self._done = done
        self._failed = True
        if not connection.is_open:
            done(ConnectionLost("the connection was lost"))
            return
        # The close callback not in on_open: a connection may be lost before the broker opens the channel.
        connection.channel(on_open_callback=self._next).add_on_close_callback(self._on_close)

    def _next(self, channel: Any, _: Any = None) -> None:
        if self._steps:
            self._steps.pop(0)(channel, partial(self._next, channel))
        else:
            self._failed = False
            channel.close()

    def _on_close(self, _: Any, reason: BaseException) -> None:
        finished = isinstance(reason, ChannelClosedByClient) or not self._failed
        self._done(None if finished else reason)


def exchange_steps() -> list[Step]:
    """Return the commands that declare all exchanges of the topology."""

    def declare(name: str, channel: Any, then: Callable[[Any], None]) -> None:
        channel.exchange_declare(name, "topic", durable=True, callback=then)

    return [partial(declare, name) for name in topology.EXCHANGES]


def queue_steps(queue: Queue, idle: list[Queue] | None = None) -> list[Step]:
    """Return the commands that declare one queue and its bindings.

    Args:
        idle: gets the queue where it is without messages and consumers; either is a sign that the queue works.
    """

    def declare(channel: Any, then: Callable[[Any], None]) -> None:
        def declared(frame: Any) -> None:
            if idle is not None and not frame.method.message_count and not frame.method.consumer_count:
                idle.append(queue)
            then(frame)

        channel.queue_declare(
            queue.name,
            durable=not queue.exclusive,
            exclusive=queue.exclusive,
            arguments=queue.arguments,
            callback=declared,
        )

    def bind(exchange: str, key: str, channel: Any, then: Callable[[Any], None]) -> None:
        channel.queue_bind(queue.name, exchange, key, callback=then)

    return [declare, *(partial(bind, exchange, key) for exchange, key in queue.bindings)]


def look_step(name: str) -> Step:
    """Return the command that asks whether a queue exists; the broker closes the channel where it does not."""

    def look(channel: Any, then: Callable[[Any], None]) -> None:
        channel.queue_declare(name, passive=True, callback=then)

    return look
