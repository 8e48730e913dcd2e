"""RabbitMQ as a `Broker`: one I/O thread serves two connections and calls quick handlers,
and another thread calls slow ones.

The connections are apart because a memory alarm stops whatever comes over a connection that has published, and
acknowledgements must flow on. The threads are apart because a handler may take long, and a connection whose heartbeats
are late is closed by the broker.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import structlog

from fedbus.broker.base import Handler, Outgoing
from fedbus.broker.delivery import DeliveryThread
from fedbus.broker.rabbitmq.consumer import AmqpSubscription, Consumers
from fedbus.broker.rabbitmq.declarer import Declarer, Request
from fedbus.broker.rabbitmq.link import Link, Outage
from fedbus.broker.rabbitmq.login import Login
from fedbus.broker.rabbitmq.loop import IoThread
from fedbus.broker.rabbitmq.mender import Mender
from fedbus.broker.rabbitmq.probe import Prober
from fedbus.broker.rabbitmq.publisher import Publisher
from fedbus.certificates.files import TlsFiles
from fedbus.errors import AccessRefused, BrokerError, ConnectionLost, Untrusted
from fedbus.topology import Queue

log = structlog.get_logger(__name__)

_FAREWELL_SECONDS = 2.0


class AmqpBroker:
    """A user's connection to RabbitMQ; see `base.Broker`.
    The constructor returns at once, and the connection is made in the background.

    Args:
        url: amqp[s]://user:password@host[:port][/vhost]; with amqps the server's certificate is verified. Without the
            password the user is the one that the own certificate is of.
        user: whom messages claim to be from; the broker takes no other than who logs in, which is the default.
        tls: the files of certificates for amqps; they are read anew for each connection.
        heartbeat: seconds after which a silent connection counts as lost.
        nack_seconds: for how long a message that the broker does not take is tried again.
        on_end: called once, on the I/O thread, where that ends by an error of its own and not by `close`: nothing is
            sent or received any more, so a process that only serves should end too.

    Raises:
        ConfigError: the URL is not of that form, or a file of certificates is not what it should be.
    """

    def __init__(
        self,
        url: str,
        user: str | None = None,
        *,
        tls: TlsFiles | None = None,
        heartbeat: int = 30,
        nack_seconds: float = 60.0,
        on_end: Callable[[BrokerError], None] | None = None,
    ) -> None:
        login = Login(url, tls or TlsFiles())
        self.user: str = user or login.user
        self._place = login.place
        self._changed = threading.Condition()
        self._up: set[str] = set()
        self._failure: BrokerError | None = None
        self._fatal: BrokerError | None = None
        self._tell_end = on_end
        self._declaring: set[Request] = set()
        self._refused = False
        self._epoch = 0
        self._closed = False
        self._links_open = 2
        self._io = IoThread(f"fedbus-io-{self.user}", self._on_error)
        self._deliveries = DeliveryThread(f"fedbus-deliveries-{self.user}")
        self._publisher = Publisher(self._io, self.user, nack_seconds)
        self._consumers = Consumers(self._io, self._deliveries, self._publisher)
        self._prober = Prober(self._io, self.user)
        self._declarer = Declarer(self._io, Mender(self._prober, self.user))
        self._outage = Outage(self._place, links=2)
        self._links = [
            self._link("publish", login, heartbeat, self._publish_up, self._publish_down),
            self._link("consume", login, heartbeat, self._consume_up, self._consume_down),
        ]
        for link in self._links:
            self._io.post(link.open)
        self._io.start()

    @property
    def epoch(self) -> int:
        """The number of times that the consuming connection was made."""
        return self._epoch

    def connect(self, timeout: float | None = 30.0) -> None:
        """Wait until both connections are made.

        Args:
            timeout: seconds; None waits for as long as it takes, also until somebody mends certificates.

        Raises:
            AccessRefused: the broker does not know the user, or the password is wrong.
            Untrusted: there is a timeout, and one side does not accept the other's certificate.
            ConnectionLost: not within the timeout.
        """

        def decided() -> bool:
            mended_only = timeout is not None and isinstance(self._failure, Untrusted)
            return len(self._up) == len(self._links) or self._refused or self._closed or mended_only

        with self._changed:
            self._changed.wait_for(decided, timeout)
            if self._closed or len(self._up) < len(self._links):
                raise self._why_not(timeout)

    def declare(self, queues: Sequence[Queue], timeout: float | None = 30.0) -> None:
        """Declare the exchanges and these queues, now and after each reconnection; see `base.Broker`."""
        request = Request(queues)
        with self._changed:
            if self._closed:
                raise self._why_not(None)
            self._declaring.add(request)
        self._io.post(partial(self._declare, request))
        try:
            request.future.result(timeout)
        except TimeoutError:
            # The answer may come in this very moment.
            if request.future.cancel():
                raise (request.error or self._why_not(timeout)) from None
            request.future.result()
        finally:
            self._declaring.discard(request)

    def delete(self, queue: str, *, filled: bool = False) -> Future[bool]:
        """Forget a queue, and delete it if nobody uses it and, unless it may be filled, if it is empty;
        see `base.Broker`.
        """
        gone: Future[bool] = Future()
        gone.set_running_or_notify_cancel()
        self._io.post(partial(self._declarer.delete, queue, filled, gone.set_result))
        return gone

    def publish(self, message: Outgoing, *, wait: bool = True) -> Future[None]:
        """Publish a message; see `base.Broker`."""
        return self._publisher.publish([message], wait=wait)[0]

    def publish_all(self, messages: Sequence[Outgoing], *, wait: bool = True) -> list[Future[None]]:
        """Publish several messages; see `base.Broker`."""
        return self._publisher.publish(messages, wait=wait)

    def consume(self, queue: str, handler: Handler, prefetch: int = 64, *, quick: bool = False) -> AmqpSubscription:
        """Receive messages from a queue; see `base.Broker`."""
        if self._closed:
            raise self._why_not(None)
        return self._consumers.subscribe(queue, handler, prefetch, quick=quick)

    def close(self, timeout: float = 10.0) -> None:
        """Publish what waits, stop consuming, and end both connections; see `base.Broker`."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        deadline = time.monotonic() + timeout
        if not self._deliveries.stop(timeout):
            log.warning("a handler still runs at close; its message will be delivered again", user=self.user)
        if not self._io.is_current:
            left = self._publisher.flush(max(0.0, deadline - time.monotonic()))
            if left:
                log.warning("messages not confirmed at close; the outbox sends them again", messages=left)
        self._publisher.shut(self._why_not(None))
        self._io.post(self._end)
        if not self._io.is_current:
            self._io.join(timeout + 2 * _FAREWELL_SECONDS)

    def _link(self, name: str, login: Login, heartbeat: int, up: Any, down: Any) -> Link:
        def on_up(connection: Any) -> None:
            up(connection)
            with self._changed:
                self._up.add(name)
                self._failure = None
                self._changed.notify_all()
            if self._refused:
                self._refused = False
                self._publisher.shut(None)

        def on_down() -> None:
            with self._changed:
                self._up.discard(name)
            down()

        return Link(
            self._io,
            login,
            heartbeat,
            f"fedbus {name}",
            self._outage,
            up=on_up,
            down=on_down,
            failed=self._on_failed,
            closed=self._on_link_closed,
        )

    def _publish_up(self, connection: Any) -> None:
        self._publisher.up(connection)
        self._prober.up(connection)

    def _publish_down(self) -> None:
        self._prober.down()
        self._publisher.down()

    def _consume_up(self, connection: Any) -> None:
        self._epoch += 1
        self._declarer.up(connection, ready=partial(self._consumers.up, connection))

    def _consume_down(self) -> None:
        self._declarer.down()
        self._consumers.down()

    def _on_failed(self, error: BrokerError) -> None:
        with self._changed:
            self._failure = error
            # Later a refusal may pass: a broker that restarts can be up before it knows its users.
            self._refused = isinstance(error, AccessRefused) and self._epoch == 0
            self._changed.notify_all()
        if self._refused:
            self._fail_all(error)

    def _declare(self, request: Request) -> None:
        if self._refused or self._closed:
            request.finish(self._why_not(None))
        else:
            self._declarer.declare(request)

    def _why_not(self, timeout: float | None) -> BrokerError:
        if self._fatal is not None:
            return self._fatal
        if self._closed:
            return ConnectionLost(f"the connection to RabbitMQ at {self._place} is closed")
        if isinstance(self._failure, AccessRefused | Untrusted):
            return self._failure
        within = "" if timeout is None else f" within {timeout:g} s"
        failure = self._failure or f"no connection to RabbitMQ at {self._place}"
        return ConnectionLost(f"{failure}{within}: check that it runs, and host and port of the broker URL")

    def _fail_all(self, error: BrokerError) -> None:
        self._publisher.fail_all(error)
        for request in list(self._declaring):
            request.finish(error)

    def _end(self) -> None:
        closed = self._why_not(None)
        self._fail_all(closed)
        self._consumers.fail_all(closed)
        self._io.later(_FAREWELL_SECONDS, self._abort)
        for link in self._links:
            link.close()

    def _abort(self) -> None:
        for link in self._links:
            link.abort()

    def _on_link_closed(self) -> None:
        self._links_open -= 1
        if not self._links_open:
            self._io.stop()

    def _on_error(self, error: Exception) -> None:
        """An error in the I/O thread, which ends by it: it must not leave callers waiting for ever."""
        log.error("the broker's I/O thread ends; nothing is sent or received any more", exc_info=error)
        text = f"internal error in the connection to RabbitMQ at {self._place}: {error!r}; the log says more"
        fatal = BrokerError(text)
        with self._changed:
            unasked = not self._closed
            self._closed = True
            self._fatal = fatal
            self._changed.notify_all()
        self._fail_all(fatal)
        self._deliveries.stop(0)
        if unasked and self._tell_end is not None:
            self._tell_end(fatal)
        self._end()
