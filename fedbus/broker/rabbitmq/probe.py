"""A probe finds out whether a quorum queue takes messages. All of it runs on the I/O thread.

A RabbitMQ server that is killed within about a second after a quorum queue was declared can come back with a queue
that has no leader: it is there when it is declared again, it is empty, and for a minute it neither confirms nor refuses
a publication or a consumer. Only a publication tells such a queue from a sound one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from pika import BasicProperties  # type: ignore[import-untyped]
from pika.spec import Basic  # type: ignore[import-untyped]

from fedbus import topology
from fedbus.broker.rabbitmq.loop import IoThread
from fedbus.topology import Queue

PROBE_HEADER = "x-fedbus-probe"

# A sound queue answers within milliseconds; one with a long log may take seconds after the server's restart.
_SECONDS = 5.0

Done = Callable[[list["QueueProbe"] | None], None]


def is_probe(properties: Any, body: bytes) -> bool:
    """Return whether a message only asks its queue for a sign of life; no handler is called with such a message."""
    return not body and PROBE_HEADER in (properties.headers or {})


class QueueProbe:
    """An empty message for one queue, over a channel of its own: a queue that does not answer holds its channel up.

    Args:
        ended: called once: with True for an answer in time, False where there is none or it is refused, None where the
            connection was lost before.

    Attributes:
        answered: the broker has confirmed it, however late, or ended the channel over it in time.
    """

    def __init__(self, io: IoThread, user: str, queue: Queue, ended: Callable[[bool | None], None]) -> None:
        self.queue = queue
        self.answered = False
        self._io = io
        self._user = user
        self._ended: Callable[[bool | None], None] | None = ended
        self._timer: Any = None
        self._channel: Any = None

    def begin(self, connection: Any) -> None:
        """Ask over this connection."""
        self._timer = self._io.later(_SECONDS, self._on_time)
        self._channel = connection.channel(on_open_callback=self._on_open)
        self._channel.add_on_close_callback(self._on_close)

    def _on_open(self, channel: Any) -> None:
        channel.confirm_delivery(self._on_confirm, callback=self._on_selected)

    def _on_selected(self, _: Any) -> None:
        exchange, pattern = self.queue.bindings[0]
        # Nobody receives from the dead letters, and what expires there is gone. From other queues it would come there.
        expiration = "0" if self.queue.name == topology.DEAD else None
        properties = BasicProperties(user_id=self._user, headers={PROBE_HEADER: "1"}, expiration=expiration)
        self._channel.basic_publish(exchange, concrete_key(pattern, self._user), b"", properties)

    def _on_confirm(self, frame: Any) -> None:
        # Only queues without messages are asked: one that refuses is not full. It has no process, or is failing over.
        self.answered = isinstance(frame.method, Basic.Ack)
        self._end(self.answered)
        if self._channel.is_open:
            self._channel.close()

    def _on_close(self, channel: Any, _: BaseException) -> None:
        if self._ended is None:
            return
        # Closed by the broker alone, it was an answer: this user may not publish there.
        self.answered = self.answered or bool(channel.connection.is_open)
        self._end(True if self.answered else None)

    def _on_time(self) -> None:
        self._timer = None
        self._end(False)

    def _end(self, answered: bool | None) -> None:
        if self._timer is not None:
            self._io.forget(self._timer)
            self._timer = None
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(answered)


class Prober:
    """It asks queues, one after the other.

    Args:
        user: who publishes.
    """

    def __init__(self, io: IoThread, user: str) -> None:
        self._io = io
        self._user = user
        self._connection: Any = None
        self._blocked = False
        self._waiting: deque[tuple[deque[Queue], list[QueueProbe], Done]] = deque()
        self._busy = False

    def up(self, connection: Any) -> None:
        """Take note that the publishing connection was made. A memory alarm must not hold up the other one."""
        self._connection = connection
        self._set_blocked(False)
        connection.add_on_connection_blocked_callback(lambda *_: self._set_blocked(True))
        connection.add_on_connection_unblocked_callback(lambda *_: self._set_blocked(False))
        self._next()

    def down(self) -> None:
        """Take note that the connection was lost."""
        self._connection = None

    def ask(self, queues: Sequence[Queue], done: Done) -> None:
        """Call `done` with the probes of those that do not answer, or with None where the connection was lost.

        While the broker takes no messages at all, no queue is suspect.
        """
        self._waiting.append((deque(queues), [], done))
        self._next()

    def _set_blocked(self, blocked: bool) -> None:
        self._blocked = blocked

    def _next(self) -> None:
        if self._busy or not self._waiting or self._connection is None or not self._connection.is_open:
            return
        left, mute, done = self._waiting[0]
        if not left:
            self._waiting.popleft()
            done(mute)
            self._next()
            return

        def ended(answered: bool | None) -> None:
            self._busy = False
            if answered is None:
                self._waiting.popleft()
                done(None)
            elif not answered and not self._blocked:
                mute.append(probe)
            self._next()

        self._busy = True
        probe = QueueProbe(self._io, self._user, left.popleft(), ended)
        probe.begin(self._connection)


def concrete_key(pattern: str, user: str) -> str:
    """Make a routing key that a binding's pattern matches, under the name of this user."""
    return ".".join(user if word in ("*", "#") else word for word in pattern.split("."))
