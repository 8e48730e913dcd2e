"""This is what fedbus asks of a message broker. `rabbitmq` and `memory` implement it with the same semantics.

Queues are durable, bodies are bytes that the broker does not read.

At least once: a delivery that is neither acknowledged nor dead-lettered is delivered again. A publication is done when
the broker has confirmed it, and fails when no queue takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from fedbus.errors import AccessRefused, BrokerError
from fedbus.topology import Queue

REASON_HEADER = "x-fedbus-reason"
QUEUE_HEADER = "x-fedbus-queue"
USER_HEADER = "x-fedbus-user"
SIZE_HEADER = "x-fedbus-size"

# Above what the codec makes and reads, so that what is a little too long is refused there with a reason.
MAX_MESSAGE_BYTES = 5 * 1024**2
# What a dead letter keeps of a longer body: enough to see what it is, whoever published it.
KEPT_BYTES = 64 * 1024
# All headers together. They share one frame with the other properties, and a broker that gets a frame longer than
# agreed ends the connection; it may ask for frames of 4,096 bytes.
MAX_HEADERS_BYTES = 2048


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that is to be published.

    Attributes:
        message_id: identifies it across re-publications.
        mandatory: fail with Unroutable where no queue takes it; False for events, which nobody may be watching.
    """

    exchange: str
    routing_key: str
    body: bytes
    message_id: str
    mandatory: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)


def refusal(message: Outgoing) -> AccessRefused | None:
    """Say why no broker takes a message, because its body or its headers are too long;
    return None where it is taken.
    """
    if len(message.body) > MAX_MESSAGE_BYTES:
        return AccessRefused(f"a message of {len(message.body)} bytes is too long: {MAX_MESSAGE_BYTES} are allowed")
    size = sum(len(text.encode("utf-8", "replace")) for pair in message.headers.items() for text in pair)
    if size > MAX_HEADERS_BYTES:
        return AccessRefused(f"headers of {size} bytes are too long: {MAX_HEADERS_BYTES} are allowed")
    return None


class Delivery(Protocol):
    """A message that was received. Its handler calls exactly one of ack, dead_letter and requeue, from any thread.

    All three are safe after the connection was lost: the broker then delivers the message again anyway.

    Attributes:
        size: of the body as it was published.
        user: the publisher as the broker authenticated it, None where the message says none.
    """

    queue: str
    exchange: str
    routing_key: str
    body: bytes
    size: int
    message_id: str
    user: str | None
    redelivered: bool

    @property
    def headers(self) -> Mapping[str, str]:
        """The message's headers, without those whose value is not text."""

    def ack(self) -> None:
        """Tell the broker that it may forget the message: its effect is durable, or it is not needed."""

    def dead_letter(self, reason: str) -> None:
        """Publish a copy to the dead-letter exchange with the reason in REASON_HEADER, then acknowledge.

        QUEUE_HEADER and USER_HEADER say where it was received and from whom; the sender's own headers are not copied,
        and a long reason is cut. Of a body longer than KEPT_BYTES the copy has the beginning, and SIZE_HEADER says how
        long it was. Where the copy cannot be published, the delivery is requeued. Does not wait.
        """

    def requeue(self) -> None:
        """Give the message back. The broker delivers it again, up to the queue's delivery limit."""

    def hand_over(self, handler: Handler) -> None:
        """Have a handler that takes long called with this delivery, on the thread that is meant for such handlers."""


Handler = Callable[[Delivery], None]


class Subscription(Protocol):
    """The consumption of one queue by one handler."""

    @property
    def error(self) -> BrokerError | None:
        """The reason why nothing can be received at present (it is tried again all the while);
        None when all is well.
        """

    def cancel(self) -> None:
        """Stop receiving. Deliveries that are not acknowledged go back to the queue.
        It does not wait for a handler that runs.
        """


class Broker(Protocol):
    """A connection to a message broker under one user's name. All methods may be called from any thread."""

    user: str

    def declare(self, queues: Sequence[Queue], timeout: float | None = 30.0) -> None:
        """Make sure that all exchanges of the topology and these queues with their bindings exist.

        Remembered, and done again after each reconnection, until `delete`: a broker that lost its data gets them back.

        A user who may not declare exchanges takes those that the administrator declared.

        Raises:
            AccessRefused: this user may not, or a queue of that name has other arguments.
            Unroutable: an exchange to bind to does not exist.
            ConnectionLost: not done within the timeout (seconds), or the broker is closed.
        """

    def delete(self, queue: str, *, filled: bool = False) -> Future[bool]:
        """Forget a declared queue, and delete it if it is empty and unused; the future says whether it is gone.

        Args:
            filled: delete it also where messages wait in it; one that somebody consumes from stays all the same.
        """

    def publish(self, message: Outgoing, *, wait: bool = True) -> Future[None]:
        """Publish a message. The future is done when the broker has confirmed it.

        While the connection is away the message waits and is published after the reconnection. The future fails with
        Unroutable, Nacked (after retries, or where connections end over it) or AccessRefused (also for a body over
        MAX_MESSAGE_BYTES or headers over MAX_HEADERS_BYTES), and with ConnectionLost when the broker is closed.
        Call-backs of the future run on the broker's own thread and must not block.

        Args:
            wait: whether the caller waits here while too much is unconfirmed. A handler must not: it would keep all
                other deliveries waiting. With False and no room the future has failed already, with Congested.
        """

    def publish_all(self, messages: Sequence[Outgoing], *, wait: bool = True) -> list[Future[None]]:
        """Publish several messages as `publish` does, and hand them to the connection together."""

    def consume(self, queue: str, handler: Handler, prefetch: int = 64, *, quick: bool = False) -> Subscription:
        """Call the handler for each message;
        it must not block on this broker's futures, and publishes with `wait=False`.

        Handlers are called one at a time, in the order of arrival. A quick one, which waits for nothing where the
        message is short, may be called on the thread that serves the connection.

        A queue that does not exist yet is tried again until it does. Survives reconnections. A message whose handler
        raises is requeued.

        Raises:
            ConnectionLost: the broker is closed.
        """

    @property
    def epoch(self) -> int:
        """The number of times that a connection was made; it grows by one at each reconnection."""

    def close(self, timeout: float = 10.0) -> None:
        """Publish what waits, stop consuming, and end the connection. A second call does nothing."""
