"""One connection to RabbitMQ, made again for ever. All of it runs on the I/O thread."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from pika import SelectConnection  # type: ignore[import-untyped]

from fedbus import metrics
from fedbus.broker.rabbitmq.frames import FrameReader
from fedbus.broker.rabbitmq.login import Login
from fedbus.broker.rabbitmq.loop import IoThread
from fedbus.broker.rabbitmq.refusals import describe, explain
from fedbus.errors import BrokerError, ConfigError, ConnectionLost, Untrusted
from fedbus.retry import delay

log = structlog.get_logger(__name__)

# pika reports one lost connection in a dozen errors with tracebacks; what an operator needs is logged here. Who wants
# them sets a level before this import.
if not logging.getLogger("pika").level:
    logging.getLogger("pika").setLevel(logging.CRITICAL)

_STEADY_SECONDS = 10.0
_REMINDER_SECONDS = 60.0


class Connection(SelectConnection):  # type: ignore[misc]
    """A connection that can send many frames with one system call; pika makes one for each, three for a message.

    It reads what a publisher wrote into a message's header by itself: pika's way of reading it ends the connection over
    a time that no calendar has or tables nested too deep, and the next connection meets the same message again.

    Attributes:
        lost_by: what ended the stream below it, which pika tells as a text only.
    """

    lost_by: BaseException | None = None
    _gathered: list[bytes] | None = None

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self._frames = FrameReader()
        super().__init__(*arguments, **keywords)

    @contextmanager
    def gather(self) -> Iterator[None]:
        """Keep back what is sent within, and send it together."""
        gathered: list[bytes] = []
        self._gathered = gathered
        try:
            yield
        finally:
            self._gathered = None
            if gathered and self._transport is not None:
                super()._adapter_emit_data(b"".join(gathered))

    def _read_frame(self) -> tuple[int, Any]:
        return self._frames.read(self._frame_buffer)

    def _proto_connection_lost(self, error: BaseException | None) -> None:
        self.lost_by = error
        super()._proto_connection_lost(error)

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._gathered is None:
            super()._adapter_emit_data(data)
        else:
            self._gathered.append(data)


class Outage:
    """Tells the operator of the time without a connection, however many connections are tried how often in it.

    One warning with the reason at its beginning, then one a minute, and one line when all connections are there.

    Args:
        place: host and port of the broker.
        links: how many connections there are to be.
    """

    def __init__(self, place: str, links: int) -> None:
        self._log = log.bind(broker=place)
        self._links = links
        self._up = 0
        self._made = 0
        self._told: float | None = None

    def up(self) -> None:
        """One of the connections was made."""
        self._up += 1
        if self._up == self._links:
            self._made += 1
            self._told = None
            self._log.info("connected to RabbitMQ", times=self._made)

    def down(self) -> None:
        """One of them was lost."""
        self._up -= 1

    def tell(self, event: str, error: str, retry_in: float) -> None:
        """Why there is no connection, where that was not said within the last minute."""
        now = time.monotonic()
        if self._told is None or now - self._told >= _REMINDER_SECONDS:
            self._told = now
            self._log.warning(event, error=error, retry_in=round(retry_in, 1))


class Link:
    """Keeps one connection up.

    Args:
        io: the thread that owns it.
        login: with what each is made.
        heartbeat: seconds.
        name: of the connection, for the broker's list of them.
        outage: what tells of the time without it.
        up: called with each connection made.
        down: called when it is lost.
        failed: called with what each failed attempt says; AccessRefused where credentials are the reason, Untrusted
            where certificates are.
        closed: called once after `close`.
    """

    def __init__(
        self,
        io: IoThread,
        login: Login,
        heartbeat: int,
        name: str,
        outage: Outage,
        *,
        up: Callable[[Any], None],
        down: Callable[[], None],
        failed: Callable[[BrokerError], None],
        closed: Callable[[], None],
    ) -> None:
        self._io = io
        self._login = login
        self._heartbeat = heartbeat
        self._name = name
        self._log = log.bind(connection=name, broker=login.place)
        self._outage = outage
        self._up, self._down, self._failed, self._closed = up, down, failed, closed
        self._connection: Any = None
        self._timer: Any = None
        self._steady: Any = None
        self._attempt = 0
        self._made = 0
        self._closing = False

    def open(self) -> None:
        """Begin to connect."""
        self._timer = None
        try:
            settings = self._login.parameters(self._heartbeat, self._name)
        except ConfigError as error:
            # They were as they should be when the process began: somebody may be putting new ones in their place.
            self._fail(Untrusted(str(error)))
            return
        except Untrusted as error:
            self._fail(error)
            return
        self._connection = Connection(
            settings,
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_open_error,
            on_close_callback=self._on_close,
            custom_ioloop=self._io.loop,
        )

    def close(self) -> None:
        """End the connection, or the attempt to make one."""
        self._closing = True
        self._stop_timers()
        connection = self._connection
        if connection is None:
            self._closed()
        elif connection.is_open or connection.connection_state == connection.CONNECTION_INIT:
            connection.close()
        # In the middle of the handshake pika cannot be told to stop: the end of the handshake is waited for.

    def abort(self) -> None:
        """End it without the broker's consent: a broker that blocks a publisher does not read its farewell."""
        if self._connection is not None:
            self._connection._terminate_stream(ConnectionLost("given up while closing"))

    def _on_open(self, connection: Any) -> None:
        if self._closing:
            connection.close()
            return
        self._made += 1
        if self._made > 1:
            metrics.reconnections.inc()
        self._outage.up()
        # A connection that is lost again at once must not be retried without pause.
        self._steady = self._io.later(_STEADY_SECONDS, self._settle)
        connection.add_on_connection_blocked_callback(self._on_blocked)
        connection.add_on_connection_unblocked_callback(self._on_unblocked)
        self._up(connection)

    def _on_open_error(self, connection: Any, error: BaseException) -> None:
        # Under TLS 1.3 a broker refuses a certificate when for pika the connection stands and the protocol is at fault.
        lost_by = getattr(connection, "lost_by", None)
        self._fail(explain(lost_by if isinstance(lost_by, ssl.SSLError) else error, self._login))

    def _fail(self, failure: BrokerError) -> None:
        if not self._closing:
            self._failed(failure)
        self._again("no connection to RabbitMQ; nothing is sent or received until there is one", str(failure))

    def _on_close(self, _: Any, error: BaseException) -> None:
        self._stop_timers()
        self._outage.down()
        self._down()
        self._again(
            "connection to RabbitMQ lost; what was not confirmed will be published again after the reconnection",
            describe(error),
        )

    def _again(self, event: str, error: str) -> None:
        self._connection = None
        if self._closing:
            self._closed()
            return
        self._attempt += 1
        seconds = delay(self._attempt)
        self._outage.tell(event, error, seconds)
        self._timer = self._io.later(seconds, self.open)

    def _settle(self) -> None:
        self._attempt = 0
        self._steady = None

    def _stop_timers(self) -> None:
        for timer in (self._timer, self._steady):
            if timer is not None:
                self._io.forget(timer)
        self._timer = self._steady = None

    def _on_blocked(self, _: Any, frame: Any) -> None:
        self._log.warning(
            "RabbitMQ takes no messages for now (low on memory or disk); publications wait, consumption goes on",
            reason=frame.method.reason,
        )

    def _on_unblocked(self, *_: Any) -> None:
        self._log.info("RabbitMQ takes messages again")
