"""What a broker lets a user do, found out by trying: for a diagnosis, beside the connections that carry messages.

Nothing that is tried changes what others have: messages are taken back or come back, queues are looked for that nobody
has, and what is declared is the user's own and goes with the connection.
"""

from __future__ import annotations

import contextlib
import datetime
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from pika import BasicProperties, BlockingConnection  # type: ignore[import-untyped]
from pika.exceptions import (  # type: ignore[import-untyped]
    AMQPError,
    ChannelClosedByBroker,
    NackError,
    UnroutableError,
)

from fedbus import topology
from fedbus.broker.rabbitmq.declarer import as_broker_error
from fedbus.broker.rabbitmq.login import Login
from fedbus.broker.rabbitmq.probe import PROBE_HEADER
from fedbus.errors import BrokerError, ConnectionLost, Nacked, Unroutable

T = TypeVar("T")

_SECONDS = 10.0
_HEARTBEAT = 30


@dataclass(frozen=True, slots=True)
class QueueSeen:
    """A queue as the broker describes it: how many messages wait in it, and how many processes receive from it."""

    messages: int
    consumers: int


@dataclass(frozen=True, slots=True)
class Clocks:
    """The broker's time between two times of this machine; seconds since the epoch.

    Attributes:
        broker: in whole seconds, cut off.
    """

    before: float
    broker: float
    after: float

    @property
    def ahead(self) -> float:
        """Return by how many seconds this machine is ahead of the broker at least, less than 0 where it is behind."""
        if self.before > self.broker + 1.0:
            return self.before - self.broker - 1.0
        return min(0.0, self.after - self.broker)


def certificate_end(login: Login) -> datetime.datetime | None:
    """Find out when the broker's certificate ends. Return None where it cannot be reached, which a login explains."""
    context = login.parameters(_HEARTBEAT, "fedbus doctor").ssl_options.context
    try:
        with (
            socket.create_connection((login.host, login.port), _SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=login.host) as secure,
        ):
            found = secure.getpeercert()
    except OSError:
        return None
    return datetime.datetime.fromtimestamp(ssl.cert_time_to_seconds(found["notAfter"]), datetime.UTC)


class Inspection:
    """Questions to a broker as one of its users, each on a channel of its own, which a refusal closes.

    Raises:
        ConnectionLost: there is no connection; ask only where an `AmqpBroker` got one, which says why not.
    """

    def __init__(self, login: Login) -> None:
        self.user = login.user
        self._token = secrets.token_hex(8)
        parameters = login.parameters(_HEARTBEAT, "fedbus doctor")
        parameters.socket_timeout = parameters.blocked_connection_timeout = _SECONDS
        try:
            self._connection: Any = BlockingConnection(parameters)
        except (AMQPError, OSError) as error:
            raise ConnectionLost(f"RabbitMQ at {login.place} ended the connection: {error!r}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(AMQPError):
            self._connection.close()

    def queue(self, name: str) -> QueueSeen | None:
        """Look for a queue. Return None where there is none."""

        def look(channel: Any) -> QueueSeen:
            found = channel.queue_declare(name, passive=True).method
            return QueueSeen(found.message_count, found.consumer_count)

        try:
            return self._ask(f"queue {name}", look)
        except Unroutable:
            return None

    def has_exchange(self, name: str) -> bool:
        """Return whether there is an exchange of this name."""
        try:
            self._ask(f"exchange {name}", lambda channel: channel.exchange_declare(name, passive=True))
        except Unroutable:
            return False
        return True

    def try_publishing(self, exchange: str, key: str) -> None:
        """Publish a message in a transaction that is taken back: the broker holds it against this user's rights only.

        Raises:
            AccessRefused: this user may not publish there under that key.
            Unroutable: there is no such exchange.
        """

        def publish(channel: Any) -> None:
            channel.tx_select()
            channel.basic_publish(exchange, key, b"", BasicProperties(user_id=self.user))
            channel.tx_rollback()

        self._ask(f"exchange {exchange}, key {key}", publish)

    def bounce(self, exchange: str, key: str) -> float:
        """Publish an empty message under a key that no queue is bound by. Return the seconds until it has come back.

        Raises:
            AccessRefused: this user may not publish there under that key.
            Unroutable: there is no such exchange.
            ConnectionLost: it did not come back, as some queue is bound by that key all the same.
        """
        # Where somebody watches all, this has participants pass over it.
        properties = BasicProperties(user_id=self.user, headers={PROBE_HEADER: "1"})

        def publish(channel: Any) -> float | None:
            channel.confirm_delivery()
            begin = time.monotonic()
            try:
                channel.basic_publish(exchange, key, b"", properties, mandatory=True)
            except UnroutableError:
                return time.monotonic() - begin
            return None

        seconds = self._ask(f"exchange {exchange}, key {key}", publish)
        if seconds is None:
            raise ConnectionLost(f"exchange {exchange}, key {key}: the broker did not send an unroutable message back")
        return seconds

    def read(self, queue: str) -> None:
        """Ask for a message of a queue that nobody has, under a name like that of one that somebody may have.

        Raises:
            AccessRefused: this user may not read queues of such names.
        """
        with contextlib.suppress(Unroutable):
            self._ask(f"queue {queue}", lambda channel: channel.basic_get(queue))

    def bind(self, exchange: str, key: str) -> None:
        """Declare a queue as a watcher does, and bind it.

        Raises:
            AccessRefused: this user may not.
        """
        queue = topology.watch_queue(self.user, self._token)

        def bind(channel: Any) -> None:
            channel.queue_declare(queue.name, exclusive=True, arguments=queue.arguments)
            channel.queue_bind(queue.name, exchange, key)
            channel.queue_delete(queue.name)

        self._ask(f"exchange {exchange}, key {key}", bind)

    def clocks(self) -> Clocks:
        """Read the broker's clock: when a message expires, the broker notes the time in the header `x-death`.

        The message goes through two queues and an exchange of this user's own, which go with the channel.

        Raises:
            AccessRefused: this user may not declare any.
            ConnectionLost: the message did not come back.
        """
        own = f"fedbus.watch.{self.user}.{self._token}"
        away, back = f"{own}.away", f"{own}.back"

        def pass_through(channel: Any) -> Clocks:
            channel.exchange_declare(own, "direct", auto_delete=True)
            expiring = {"x-message-ttl": 0, "x-dead-letter-exchange": own, "x-dead-letter-routing-key": "back"}
            channel.queue_declare(away, exclusive=True, arguments=expiring)
            channel.queue_declare(back, exclusive=True)
            channel.queue_bind(away, own, "away")
            channel.queue_bind(back, own, "back")
            before = time.time()
            channel.basic_publish(own, "away", b"", BasicProperties(user_id=self.user))
            method, properties, _ = next(channel.consume(back, auto_ack=True, inactivity_timeout=_SECONDS))
            after = time.time()
            for queue in (away, back):
                channel.queue_delete(queue)
            if method is None:
                raise ConnectionLost(f"a message of {self.user} to itself did not come back in {_SECONDS:g} s")
            died = properties.headers["x-death"][0]["time"].replace(tzinfo=datetime.UTC)
            return Clocks(before, died.timestamp(), after)

        return self._ask(f"queue {away}", pass_through)

    def _ask(self, subject: str, question: Callable[[Any], T]) -> T:
        with self._translated(subject):
            channel = self._connection.channel()
            answer = question(channel)
            channel.close()
            return answer

    @contextlib.contextmanager
    def _translated(self, subject: str) -> Iterator[None]:
        failure: BrokerError
        try:
            yield
        except ChannelClosedByBroker as error:
            failure = as_broker_error(error, subject)
        except NackError:
            failure = Nacked(f"{subject}: the broker does not take it")
        except (AMQPError, OSError) as error:
            failure = ConnectionLost(f"{subject}: the connection was lost: {error!r}")
        else:
            return
        raise failure
