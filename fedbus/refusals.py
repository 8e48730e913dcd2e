"""A message that is refused becomes a dead letter with the reason, is counted, and is in the log now and then.

Anybody who may publish can send what is refused, as often as it likes: the log must not grow with it.
"""

from __future__ import annotations

import threading
import time

import structlog

from fedbus import metrics
from fedbus.broker.base import Delivery
from fedbus.errors import FedbusError

log = structlog.get_logger()

# Between two lines of one reason.
PAUSE_SECONDS = 60.0


class Refusals:
    """Refuses messages of one consumer.

    Args:
        what: is refused, as the log says it.
        bound: what each line of the log says besides.
    """

    def __init__(self, what: str, **bound: str) -> None:
        self._what = what
        self._log = log.bind(**bound)
        self._lock = threading.Lock()
        # Of each reason, which are a few: when it was last logged, and how often not since.
        self._logged: dict[str, float] = {}
        self._silent: dict[str, int] = {}

    def refuse(self, delivery: Delivery, error: FedbusError) -> None:
        """Move a message to the dead letters, with what the error tells others."""
        why = getattr(error, "why", "job")
        metrics.refused.labels(why).inc()
        delivery.dead_letter(error.told)
        with self._lock:
            now = time.monotonic()
            if why in self._logged and now - self._logged[why] < PAUSE_SECONDS:
                self._silent[why] = self._silent.get(why, 0) + 1
                return
            self._logged[why] = now
            others = self._silent.pop(why, 0)
        more = {"others_of_this_kind": others} if others else {}
        self._log.warning(
            f"{self._what} refused; it is in the dead-letter queue",
            reason=str(error),
            user=delivery.user,
            counted_as=why,
            **more,
        )
