"""While the disk of a store is full, a process waits, says so, and goes on when there is room.
Nothing is given up for it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

import structlog

from fedbus.broker.base import Delivery
from fedbus.errors import StoreDamaged, StoreError, StoreFull
from fedbus.retry import delay

log = structlog.get_logger()

T = TypeVar("T")

FULL = "its disk is full; it goes on when there is room"
ROOM_AGAIN = "its disk has room again; it goes on"


def when_there_is_room(
    work: Callable[[], T], wait: Callable[[float], object], tell: Callable[[StoreFull | None], object]
) -> T:
    """Do work that writes to a store, and repeat it until there is room for what it writes.

    Args:
        wait: called with seconds between two attempts; what it raises ends the waiting.
        tell: called with the error after each attempt that failed, and with None after one that did not.
    """
    attempt = 0
    while True:
        try:
            done = work()
        except StoreFull as error:
            attempt += 1
            tell(error)
            wait(delay(attempt))
        else:
            if attempt:
                tell(None)
            return done


class Holding:
    """Deliveries that could not be entered in the store are kept here in order, unacknowledged, and tried again.

    Not given back to the broker, which would count each time and in the end put them with the dead letters. No more
    wait than the broker delivers ahead of acknowledgements.

    Args:
        handle: takes a delivery and settles it; raises StoreError where the store cannot be written.
        tell: called with each delivery that waits.
    """

    def __init__(self, handle: Callable[[Delivery], None], tell: Callable[[Delivery], None]) -> None:
        self._handle = handle
        self._tell = tell
        self._lock = threading.RLock()
        self._waiting: deque[Delivery] = deque()
        self._attempt = 0
        self._timer: threading.Timer | None = None
        self._closed = False

    def take(self, delivery: Delivery) -> None:
        """Handle a delivery, now or after those that wait."""
        with self._lock:
            self._waiting.append(delivery)
            if len(self._waiting) == 1:
                self._go_on()
            else:
                self._tell(delivery)

    def close(self) -> None:
        """Try no more. What waits goes back with the subscription."""
        with self._lock:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()

    def _go_on(self) -> None:
        with self._lock:
            while self._waiting and not self._closed:
                delivery = self._waiting[0]
                try:
                    self._handle(delivery)
                except StoreDamaged as error:
                    # It will not be better later.
                    log.error("a message is refused; it is in the dead letters", reason=str(error))  # noqa: TRY400
                    delivery.dead_letter(error.told)
                except StoreError as error:
                    self._attempt += 1
                    log.error("a message cannot be entered in the store and waits", error=str(error))  # noqa: TRY400
                    self._timer = threading.Timer(delay(self._attempt), self._go_on)
                    self._timer.daemon = True
                    self._timer.start()
                    self._tell(delivery)
                    return
                except Exception:
                    # As the broker's thread does with what a handler raises; those behind it must not wait for ever.
                    log.exception("a message could not be handled; it goes back to its queue")
                    delivery.requeue()
                self._waiting.popleft()
                self._attempt = 0
