"""A message that is refused becomes a dead letter with the reason, is counted, and is in the log now and then.

Anybody who may publish can send what is refused, as often as it likes: the log must not grow with it.
"""

from __future__ import annotations

import structlog

from fedbus import metrics
from fedbus.broker.base import Delivery
from fedbus.errors import FedbusError
from fedbus.seldom import Seldom

log = structlog.get_logger()


class Refusals:
    """Refuses messages of one consumer.

    Args:
        what: is refused, as the log says it.
        bound: what each line of the log says besides.
    """

    def __init__(self, what: str, **bound: str) -> None:
        self._what = what
        self._log = log.bind(**bound)
        self._seldom = Seldom()

    def refuse(self, delivery: Delivery, error: FedbusError) -> None:
        """Move a message to the dead letters, with what the error tells others."""
        why = getattr(error, "why", "job")
        metrics.refused.labels(why).inc()
        delivery.dead_letter(error.told)
        if (more := self._seldom.due(why)) is None:
            return
        self._log.warning(
            f"{self._what} refused; it is in the dead-letter queue",
            reason=str(error),
            user=delivery.user,
            counted_as=why,
            **more,
        )
