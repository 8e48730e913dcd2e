"""Each subscription has one channel, which is made again whenever it is lost."""

from __future__ import annotations

from functools import partial
from typing import Any

import structlog
from pika.exceptions import ChannelClosedByBroker, ChannelClosedByClient  # type: ignore[import-untyped]

from fedbus.broker.base import Handler
from fedbus.broker.delivery import DeliveryThread
from fedbus.broker.rabbitmq.delivery import Acks, AmqpDelivery, Publishes
from fedbus.broker.rabbitmq.frames import Properties
from fedbus.broker.rabbitmq.loop import IoThread
from fedbus.broker.rabbitmq.probe import is_probe
from fedbus.errors import AccessRefused, BrokerError, ConnectionLost, Unroutable
from fedbus.retry import delay

log = structlog.get_logger(__name__)

# What a quick handler is called with at once: it decodes the message, while the connection waits.
_SHORT_BYTES = 64 * 1024


class AmqpSubscription:
    """The consumption of one queue by one handler, over a channel of its own that is made again whenever it is lost.

    `error` and `cancel` are for any thread, the rest for I/O.
    """

    def __init__(self, consumers: Consumers, queue: str, handler: Handler, prefetch: int, *, quick: bool) -> None:
        self.queue = queue
        self.cancelled = False
        self.publisher = consumers.publisher
        self.thread = consumers.thread
        self._consumers = consumers
        self._handler = handler
        self._prefetch = prefetch
        self._quick = quick
        self._channel: Any = None
        self._attempt = 0
        self._error: BrokerError | None = ConnectionLost("not connected yet")

    @property
    def error(self) -> BrokerError | None:
        """The reason why nothing can be received at present; None when all is well."""
        return self._error

    def cancel(self) -> None:
        """Stop receiving. As the channel closes, the broker gets back what was not acknowledged."""
        self.cancelled = True
        self._consumers.io.post(self._stop)

    def start(self) -> None:
        """Begin to receive, if there is a connection."""
        connection = self._consumers.connection
        if connection is not None and connection.is_open and self._channel is None and not self.cancelled:
            # Not in _on_open: a connection that is lost before the broker answers closes the channel all the same.
            self._channel = connection.channel(on_open_callback=self._on_open)
            self._channel.add_on_close_callback(self._on_close)

    def lost(self) -> None:
        """Take note that the connection is gone, and every channel of it."""
        self._channel = None

    def fail(self, error: BrokerError) -> None:
        """End for good: the subscription never starts again."""
        self.cancelled = True
        self._error = error

    def _stop(self) -> None:
        self._consumers.remove(self)
        self._close()

    def _close(self) -> None:
        if self._channel is not None and not (self._channel.is_closing or self._channel.is_closed):
            self._channel.close()

    def _on_open(self, channel: Any) -> None:
        acks = Acks(self._consumers.io, channel)

        def received(_: Any, method: Any, properties: Properties, body: bytes) -> None:
            if is_probe(properties, body):
                acks.ack(method.delivery_tag)
                return
            delivery = AmqpDelivery(self, acks, method, properties, body)
            if properties.fault:
                delivery.dead_letter(properties.fault)
                return
            # To wake another thread takes as long as a quick handler.
            self.thread.put(self._handler, delivery, quick=self._quick and len(body) <= _SHORT_BYTES)

        channel.add_on_cancel_callback(self._on_cancel)
        channel.basic_qos(prefetch_count=self._prefetch)
        channel.basic_consume(self.queue, received, callback=self._on_consume)

    def _on_consume(self, _: Any) -> None:
        if self._attempt:
            log.info("the queue is there now; its messages are received", queue=self.queue)
        self._attempt = 0
        self._error = None

    def _on_cancel(self, _: Any) -> None:
        self._close()

    def _on_close(self, channel: Any, reason: BaseException) -> None:
        if channel is not self._channel:
            return
        self._channel = None
        if self.cancelled:
            return
        if not isinstance(reason, ChannelClosedByBroker | ChannelClosedByClient):
            self._error = ConnectionLost("the connection was lost and is made again")
            return
        self._attempt += 1
        # Closed by this side: the broker had cancelled the consumer, because the queue is gone.
        why = reason.reply_text if isinstance(reason, ChannelClosedByBroker) else "the queue was deleted"
        match reason.reply_code:
            case 403:
                self._error = AccessRefused(f"queue {self.queue}: {why}")
            case 404 | 0:
                self._error = Unroutable(f"queue {self.queue}: {why}")
            case _:
                self._error = ConnectionLost(f"queue {self.queue}: {why}")
        if self._attempt == 1:
            log.warning(
                "nothing is received from the queue; it is tried again all the while", queue=self.queue, why=why
            )
        self._consumers.io.later(delay(self._attempt), self.start)


class Consumers:
    """All subscriptions of one connection. Its methods run on the I/O thread."""

    def __init__(self, io: IoThread, thread: DeliveryThread, publisher: Publishes) -> None:
        self.io = io
        self.thread = thread
        self.publisher = publisher
        self.connection: Any = None
        self._subscriptions: list[AmqpSubscription] = []

    def subscribe(self, queue: str, handler: Handler, prefetch: int, *, quick: bool) -> AmqpSubscription:
        """Make a subscription that starts as soon as there is a connection. Any thread may call this."""
        subscription = AmqpSubscription(self, queue, handler, prefetch, quick=quick)
        self.io.post(partial(self._add, subscription))
        return subscription

    def up(self, connection: Any) -> None:
        """Take note that a connection is there, with the queues that were declared, and start all subscriptions."""
        self.connection = connection
        for subscription in self._subscriptions:
            subscription.start()

    def down(self) -> None:
        """Take note that the connection is gone."""
        self.connection = None
        for subscription in self._subscriptions:
            subscription.lost()

    def fail_all(self, error: BrokerError) -> None:
        """Keep every subscription from starting again, because the broker is closed."""
        for subscription in self._subscriptions:
            subscription.fail(error)

    def remove(self, subscription: AmqpSubscription) -> None:
        """Forget a subscription that was cancelled."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def _add(self, subscription: AmqpSubscription) -> None:
        if not subscription.cancelled:
            self._subscriptions.append(subscription)
            subscription.start()
