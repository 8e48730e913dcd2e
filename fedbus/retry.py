"""Which errors are tried again and how long to wait: exponential back-off with jitter, on what can pass only."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from fedbus import metrics
from fedbus.errors import ConnectionLost, Nacked

T = TypeVar("T")

TRANSIENT: tuple[type[Exception], ...] = (ConnectionLost, Nacked)

FIRST_DELAY = 0.1
LONGEST_DELAY = 30.0

_wait = wait_exponential_jitter(multiplier=FIRST_DELAY, max=LONGEST_DELAY, jitter=FIRST_DELAY)


def delay(attempt: int) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1), with jitter; at most LONGEST_DELAY."""
    state = RetryCallState(None, None, (), {})  # type: ignore[arg-type]
    state.attempt_number = min(attempt, 64)
    return float(_wait(state))


def call(operation: str, function: Callable[[], T], *, seconds: float = 60.0) -> T:
    """Call a function, again while it raises a TRANSIENT error, for at most `seconds`; the last error is raised."""

    def count(_: RetryCallState) -> None:
        metrics.retries.labels(operation).inc()

    retrying = Retrying(
        retry=retry_if_exception_type(TRANSIENT),
        wait=_wait,
        stop=stop_after_delay(seconds),
        before_sleep=count,
        reraise=True,
    )
    return retrying(function)
