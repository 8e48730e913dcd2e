"""A broker within one process, with RabbitMQ's semantics, serves simulations in a notebook and tests without a server.

It keeps what fedbus relies on: topic routing, mandatory messages, redelivery, delivery limits, dead letters, length
limits, single active consumers, exclusive queues, prefetch. It has no permissions and no expiry; all is in memory.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future

from fedbus import metrics
from fedbus.broker.base import Handler, Outgoing, refusal
from fedbus.broker.delivery import DeliveryThread, dead_copy
from fedbus.broker.memory.queues import MemoryQueue, Queues, Stored
from fedbus.errors import AccessRefused, BrokerError, ConnectionLost, Unroutable
from fedbus.topology import Queue

_CLOSED = "the broker is closed"


class MemoryHub:
    """The broker itself, which all connections of this process share."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.queues = Queues()
        self._connections: list[MemoryBroker] = []

    def connect(self, user: str) -> MemoryBroker:
        """Make a connection under one user's name."""
        with self.lock:
            broker = MemoryBroker(self, user)
            self._connections.append(broker)
            return broker

    def disconnect(self, broker: MemoryBroker) -> None:
        """Forget a connection."""
        with self.lock:
            self._connections.remove(broker)

    def cut(self, user: str | None = None) -> None:
        """Drop the connections of one user, or of all; each is made again at once, as after a network failure."""
        with self.lock:
            cut = [broker for broker in self._connections if user in (None, broker.user)]
            for broker in cut:
                broker.detach()
            for broker in cut:
                broker.attach()

    def drop(self, queue: str) -> None:
        """Delete a queue with all that it holds, as an administrator might."""
        with self.lock:
            dropped = self.queues.pop(queue)
            for broker in self._connections:
                broker.lose(dropped)

    def depth(self, queue: str) -> int:
        """Return how many messages wait in a queue."""
        with self.lock:
            return len(self.queues[queue])

    def declare(self, spec: Queue, owner: MemoryBroker) -> None:
        """Make sure that a queue exists. Consumers that waited for it begin to receive.

        Raises:
            AccessRefused: it exists with other arguments, or exclusively for another connection.
        """
        with self.lock:
            queue = self.queues.get(spec.name)
            if queue is None:
                queue = self.queues[spec.name] = MemoryQueue(spec, owner if spec.exclusive else None)
            if queue.spec.arguments != spec.arguments or queue.spec.exclusive != spec.exclusive:
                raise AccessRefused(f"queue {spec.name} exists with other arguments")
            if queue.owner not in (None, owner):
                raise AccessRefused(f"queue {spec.name} belongs to another connection")
            queue.bindings.update(spec.bindings)
            for broker in self._connections:
                broker.attach_to(spec.name)


class MemoryDelivery:
    """A message that was received; see `base.Delivery`."""

    def __init__(self, subscription: MemorySubscription, stored: Stored) -> None:
        self.queue = subscription.queue
        self.exchange = stored.exchange
        self.routing_key = stored.routing_key
        self.body = stored.body
        self.size = len(stored.body)
        self.message_id = stored.message_id
        self.user: str | None = stored.user
        self.redelivered = stored.returns > 0
        self.headers = stored.headers
        self.stored = stored
        self._subscription = subscription

    @property
    def current(self) -> bool:
        """Whether the delivery can still be settled, because the queue has not given its message to somebody else."""
        return self._subscription.holds(self)

    def ack(self) -> None:
        """Tell the queue that it may forget the message."""
        self._subscription.settle(self, requeue=False)

    def requeue(self) -> None:
        """Put the message back in its place in the queue."""
        self._subscription.settle(self, requeue=True)

    def hand_over(self, handler: Handler) -> None:
        """Have another handler called with this delivery."""
        self._subscription.broker.thread.hand_over(handler, self)

    def dead_letter(self, reason: str) -> None:
        """Put a copy of the message with the dead letters, and then acknowledge it."""

        def done(future: Future[None]) -> None:
            self._subscription.settle(self, requeue=future.exception() is not None)

        self._subscription.broker.publish(dead_copy(self, reason)).add_done_callback(done)


class MemorySubscription:
    """The consumption of one queue by one handler; see `base.Subscription`."""

    def __init__(self, broker: MemoryBroker, queue: str, handler: Handler, prefetch: int) -> None:
        self.broker = broker
        self.queue = queue
        self._handler = handler
        self._prefetch = prefetch
        self._source: MemoryQueue | None = None
        self._unsettled: dict[int, MemoryDelivery] = {}

    @property
    def error(self) -> BrokerError | None:
        """The reason why nothing can be received, which is that the queue does not exist; None where it does."""
        return None if self._source is not None else Unroutable(f"queue {self.queue} does not exist yet")

    def cancel(self) -> None:
        """Stop receiving. Messages that were not settled go back to the queue."""
        with self.broker.hub.lock:
            self.broker.forget(self)
            self.detach()

    def attach(self) -> None:
        """Begin to receive, if the queue exists."""
        queue = self.broker.hub.queues.get(self.queue)
        if queue is not None and self._source is None and queue.owner in (None, self.broker):
            self._source = queue
            queue.consumers.append(self)
            queue.dispatch()

    def detach(self) -> None:
        """Receive no more, and give back what was not settled."""
        if (queue := self._source) is None:
            return
        self._source = None
        queue.consumers.remove(self)
        returned = [delivery.stored for delivery in self._unsettled.values()]
        self._unsettled.clear()
        self.broker.hub.queues.settle(queue, returned)

    def lose(self, queue: MemoryQueue) -> None:
        """Take note that the queue is gone with all that it held, and wait for it to be declared again."""
        if self._source is queue:
            self._source = None
            self._unsettled.clear()

    def has_room(self) -> bool:
        """Whether the prefetch allows one more message."""
        return len(self._unsettled) < self._prefetch

    def take(self, stored: Stored) -> None:
        """Receive a message from the queue."""
        delivery = self._unsettled[stored.number] = MemoryDelivery(self, stored)
        self.broker.thread.put(self._handler, delivery)

    def holds(self, delivery: MemoryDelivery) -> bool:
        """Return whether a delivery is neither settled nor taken away."""
        return self._unsettled.get(delivery.stored.number) is delivery

    def settle(self, delivery: MemoryDelivery, *, requeue: bool) -> None:
        """Settle a delivery. One that is stale changes nothing."""
        with self.broker.hub.lock:
            if self._source is None or not self.holds(delivery):
                return
            del self._unsettled[delivery.stored.number]
            if not requeue:
                self._source.taken -= 1
            self.broker.hub.queues.settle(self._source, [delivery.stored] if requeue else [])


class MemoryBroker:
    """A user's connection to a `MemoryHub`, whose `connect` makes it; see `base.Broker`."""

    def __init__(self, hub: MemoryHub, user: str) -> None:
        self.hub = hub
        self.user = user
        self.thread = DeliveryThread(f"fedbus-deliveries-{user}")
        self._epoch = 1
        self._closed = False
        self._declared: dict[str, Queue] = {}
        self._subscriptions: list[MemorySubscription] = []

    @property
    def epoch(self) -> int:
        """The number of times that the connection was made."""
        return self._epoch

    def declare(self, queues: Sequence[Queue], timeout: float | None = 30.0) -> None:  # noqa: ARG002
        """Make queues, and remember them for reconnections."""
        with self.hub.lock:
            self._check_open()
            for queue in queues:
                self.hub.declare(queue, self)
                self._declared[queue.name] = queue

    def delete(self, queue: str, *, filled: bool = False) -> Future[bool]:
        """Forget a queue, and delete it if it is unused and, unless it may be filled, empty."""
        gone: Future[bool] = Future()
        with self.hub.lock:
            self._declared.pop(queue, None)
            found = self.hub.queues.get(queue)
            unused = found is not None and not found.consumers and not found.taken
            if found is not None and unused and (filled or not len(found)):
                del self.hub.queues[queue]
            gone.set_result(queue not in self.hub.queues)
        return gone

    def publish(self, message: Outgoing, *, wait: bool = True) -> Future[None]:  # noqa: ARG002
        """Publish a message. The future is done at once, so that there is always room for the next."""
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()
        try:
            with metrics.publish_confirm.time():
                self._publish(message)
        except BrokerError as error:
            future.set_exception(error)
        else:
            future.set_result(None)
        return future

    def publish_all(self, messages: Sequence[Outgoing], *, wait: bool = True) -> list[Future[None]]:
        """Publish several messages."""
        return [self.publish(message, wait=wait) for message in messages]

    def consume(
        self,
        queue: str,
        handler: Handler,
        prefetch: int = 64,
        *,
        quick: bool = False,  # noqa: ARG002
    ) -> MemorySubscription:
        """Call the handler for each message of a queue, as soon as the queue exists."""
        with self.hub.lock:
            self._check_open()
            subscription = MemorySubscription(self, queue, handler, prefetch)
            self._subscriptions.append(subscription)
            subscription.attach()
            return subscription

    def close(self, timeout: float = 10.0) -> None:
        """End the connection. Messages that were not acknowledged go back to their queues."""
        if self._closed:
            return
        # First, so that a handler that runs can still publish and acknowledge.
        self.thread.stop(timeout)
        with self.hub.lock:
            if self._closed:
                return
            self._closed = True
            self.detach()
            self.hub.disconnect(self)

    def detach(self) -> None:
        """Lose the connection: deliveries go back, and exclusive queues vanish."""
        for subscription in self._subscriptions:
            subscription.detach()
        for name in [name for name, queue in self.hub.queues.items() if queue.owner is self]:
            del self.hub.queues[name]

    def attach(self) -> None:
        """Make the connection again."""
        self._epoch += 1
        metrics.reconnections.inc()
        for queue in self._declared.values():
            self.hub.declare(queue, self)
        for subscription in self._subscriptions:
            subscription.attach()

    def attach_to(self, queue: str) -> None:
        """Begin the subscriptions that waited for a queue, which was declared now."""
        for subscription in self._subscriptions:
            if subscription.queue == queue:
                subscription.attach()

    def lose(self, queue: MemoryQueue) -> None:
        """Tell the subscriptions of a queue that it was deleted under them."""
        for subscription in self._subscriptions:
            subscription.lose(queue)

    def forget(self, subscription: MemorySubscription) -> None:
        """Forget a subscription that was cancelled."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def _publish(self, message: Outgoing) -> None:
        if (refused := refusal(message)) is not None:
            raise refused
        with self.hub.lock:
            self._check_open()
            self.hub.queues.route(message, self.user)

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionLost(_CLOSED)
