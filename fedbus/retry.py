"""What may pass is tried again after a pause: exponential back-off with jitter."""

from __future__ import annotations

from tenacity import RetryCallState, wait_exponential_jitter

FIRST_DELAY = 0.1
LONGEST_DELAY = 30.0

_wait = wait_exponential_jitter(multiplier=FIRST_DELAY, max=LONGEST_DELAY, jitter=FIRST_DELAY)


def delay(attempt: int) -> float:
    """Return the seconds to wait after failed attempt number `attempt` (from 1), with jitter; at most LONGEST_DELAY."""
    state = RetryCallState(None, None, (), {})  # type: ignore[arg-type]
    state.attempt_number = min(attempt, 64)
    return float(_wait(state))
