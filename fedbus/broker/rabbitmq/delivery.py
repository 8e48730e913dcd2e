"""A message that came over AMQP is settled here. Any thread hands over acknowledgements, which are sent in batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Protocol

import structlog

from fedbus.broker.base import Handler, Outgoing
from fedbus.broker.delivery import DeliveryThread, dead_copy
from fedbus.broker.rabbitmq.frames import Properties, text
from fedbus.broker.rabbitmq.loop import IoThread

log = structlog.get_logger(__name__)


class Publishes(Protocol):
    """Something that takes the copies for the dead-letter exchange."""

    def accept(self, message: Outgoing) -> Future[None]:
        """Publish without waiting, because a handler may call this on the thread that serves all others."""


class Origin(Protocol):
    """The subscription over which a delivery came."""

    queue: str
    cancelled: bool
    publisher: Publishes
    thread: DeliveryThread


class Acks:
    """The deliveries of one channel are settled by this.
    Once the channel is closed it does nothing, for the broker delivers them again.

    A delivery holds on to the Acks of the channel that it came over, so a late acknowledgement can never reach a
    later channel, where its tag would mean another message.
    """

    def __init__(self, io: IoThread, channel: Any) -> None:
        self._io = io
        self._channel = channel
        self._acked: deque[int] = deque()
        self._returned: deque[int] = deque()
        self._settled: set[int] = set()
        self._lowest = 1

    @property
    def live(self) -> bool:
        """Whether the channel is open."""
        return bool(self._channel.is_open)

    def ack(self, tag: int) -> None:
        """Acknowledge a delivery. Any thread may call this."""
        self._acked.append(tag)
        self._io.post(self._flush)

    def requeue(self, tag: int) -> None:
        """Give a delivery back. Any thread may call this."""
        self._returned.append(tag)
        self._io.post(self._flush)

    def _flush(self) -> None:
        acked = [self._acked.popleft() for _ in range(len(self._acked))]
        returned = [self._returned.popleft() for _ in range(len(self._returned))]
        if not self._channel.is_open:
            return
        self._settled.update(acked, returned)
        while self._lowest in self._settled:
            self._settled.discard(self._lowest)
            self._lowest += 1
        with self._channel.connection.gather():
            for tag in returned:
                self._channel.basic_nack(tag, requeue=True)
            # Every tag below the lowest open one is settled: one command serves all of them. It must name a tag that
            # the broker still holds, so one of this batch.
            if together := [tag for tag in acked if tag < self._lowest]:
                self._channel.basic_ack(max(together), multiple=len(together) > 1)
            for tag in acked:
                if tag >= self._lowest:
                    self._channel.basic_ack(tag)


class AmqpDelivery:
    """A message that was received; see `base.Delivery`."""

    __slots__ = (
        "_acks",
        "_ended",
        "_properties",
        "_subscription",
        "_tag",
        "body",
        "exchange",
        "message_id",
        "queue",
        "redelivered",
        "routing_key",
        "size",
        "user",
    )

    def __init__(self, subscription: Origin, acks: Acks, method: Any, properties: Properties, body: bytes) -> None:
        self.queue = subscription.queue
        self.exchange: str = method.exchange
        self.routing_key = text(method.routing_key)
        self.redelivered: bool = method.redelivered
        self.body = body
        self.size = properties.size
        self.message_id = properties.message_id
        self.user = properties.user_id
        self._properties = properties
        self._subscription = subscription
        self._acks = acks
        self._tag: int = method.delivery_tag
        self._ended = False

    @property
    def headers(self) -> Mapping[str, str]:
        """The message's headers, without those whose value is not text. They are read when they are asked for."""
        return self._properties.headers

    @property
    def current(self) -> bool:
        """Whether the delivery can still be settled, because the broker has not given its message to somebody else."""
        return self._acks.live and not self._subscription.cancelled

    def ack(self) -> None:
        """Tell the broker that it may forget the message."""
        if not self._end():
            self._acks.ack(self._tag)

    def requeue(self) -> None:
        """Give the message back to its queue."""
        if not self._end():
            self._acks.requeue(self._tag)

    def hand_over(self, handler: Handler) -> None:
        """Have another handler called with this delivery."""
        self._subscription.thread.hand_over(handler, self)

    def dead_letter(self, reason: str) -> None:
        """Put a copy with the dead letters.
        Then acknowledge the message, or requeue it where the copy was not taken.
        """
        if self._end():
            return

        def done(future: Future[None]) -> None:
            if (error := future.exception()) is None:
                self._acks.ack(self._tag)
                return
            log.error(
                "the dead-letter exchange does not take a message; it goes back to its queue",
                queue=self.queue,
                message_id=self.message_id,
                error=str(error),
            )
            self._acks.requeue(self._tag)

        self._subscription.publisher.accept(dead_copy(self, reason)).add_done_callback(done)

    def _end(self) -> bool:
        # Settling the same tag twice makes the broker close the channel.
        ended, self._ended = self._ended, True
        return ended
