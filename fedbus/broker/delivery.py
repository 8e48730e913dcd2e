"""Both brokers do this with a delivery: a thread calls its handler, and a copy goes to the dead-letter exchange."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import Protocol

import structlog

from fedbus import metrics, topology
from fedbus.broker.base import (
    KEPT_BYTES,
    QUEUE_HEADER,
    REASON_HEADER,
    SIZE_HEADER,
    USER_HEADER,
    Delivery,
    Handler,
    Outgoing,
)
from fedbus.seldom import Seldom

log = structlog.get_logger(__name__)
_seldom = Seldom()

MAX_REASON_BYTES = 1000
_CUT = " …"


class Received(Delivery, Protocol):
    """A delivery that knows whether the broker still counts it as ours."""

    @property
    def current(self) -> bool:
        """Whether the delivery can still be settled. Once its connection is lost or its subscription cancelled, it
        cannot: the broker delivers the message again.
        """


class DeliveryThread:
    """Calls handlers one delivery at a time, away from the thread that keeps the connection alive.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._waiting: SimpleQueue[tuple[Handler, Received] | None] = SimpleQueue()
        self._counting = threading.Lock()
        self._left = 0
        self._stopping = False
        # A handler that never returns must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, handler: Handler, delivery: Received, *, quick: bool = False) -> None:
        """Have the handler called with the delivery, in the order of arrival.

        Args:
            quick: on the calling thread, where none is left that came before it.
        """
        if delivery.redelivered:
            metrics.redeliveries.inc()
        with self._counting:
            at_once = quick and not self._left
            self._left += not at_once
        if not at_once:
            self._waiting.put((handler, delivery))
        elif not self._stopping:
            call(handler, delivery)

    def hand_over(self, handler: Handler, delivery: Received) -> None:
        """Have a second handler called with a delivery."""
        with self._counting:
            self._left += 1
        self._waiting.put((handler, delivery))

    def stop(self, timeout: float) -> bool:
        """Call no more handlers. Return whether the one that runs has ended within the timeout (seconds)."""
        self._stopping = True
        self._waiting.put(None)
        if self._thread is threading.current_thread():
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            handler, delivery = item
            # What was received over a connection that is gone comes again: handling it now would do the work twice.
            if not self._stopping and delivery.current:
                call(handler, delivery)
            with self._counting:
                self._left -= 1


def call(handler: Handler, delivery: Delivery) -> None:
    """Call a handler, and log what it raises:
    that must not end the thread, which serves every other subscription too.
    """
    try:
        handler(delivery)
    except Exception:
        log.exception(
            "a handler failed; the message goes back to its queue, and to the dead letters at the delivery limit",
            queue=delivery.queue,
            message_id=delivery.message_id,
        )
        delivery.requeue()


def dead_copy(delivery: Delivery, reason: str) -> Outgoing:
    """Make the copy of a delivery that goes to the dead-letter exchange, count it, and tell the operator."""
    metrics.dead_letters.inc()
    reason = _cut(reason)
    if (more := _seldom.due("")) is not None:
        log.warning(
            "message goes to the dead-letter queue; it is not processed",
            queue=delivery.queue,
            message_id=delivery.message_id,
            user=delivery.user,
            reason=reason,
            **more,
        )
    # Not the sender's headers: a copy must never be longer than what the broker takes.
    headers = {REASON_HEADER: reason, QUEUE_HEADER: delivery.queue}
    if delivery.user is not None:
        headers[USER_HEADER] = delivery.user
    body = delivery.body[:KEPT_BYTES]
    if len(body) < delivery.size:
        headers[SIZE_HEADER] = str(delivery.size)
    return Outgoing(topology.DEAD, delivery.routing_key, body, delivery.message_id, headers=headers)


def _cut(reason: str) -> str:
    encoded = reason.encode("utf-8", "replace")
    if len(encoded) <= MAX_REASON_BYTES:
        return encoded.decode()
    return encoded[: MAX_REASON_BYTES - len(_CUT.encode())].decode("utf-8", "ignore") + _CUT
