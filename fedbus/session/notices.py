"""Participants have something to say to whoever watches a job. The coordinator passes it on, for each only so often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

# Between two notices of one participant; of those that come meanwhile the last one is passed on at the end.
PAUSE_SECONDS = 0.5
# Between two of the same text.
SAME_SECONDS = 30.0


@dataclass(slots=True)
class _Said:
    """What one participant said.

    Attributes:
        text: that was passed on last, and `at` when (monotonic).
        waiting: that is passed on once the pause is over; None where nothing is.
    """

    text: str = ""
    at: float = -SAME_SECONDS
    waiting: str | None = None


class Notices:
    """It bounds what watchers are told, however often a participant says something else. Any thread may call it.

    Args:
        tell: is called with the sender and the text.
    """

    def __init__(self, tell: Callable[[str, str], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._said: dict[str, _Said] = {}
        self._timers: dict[str, threading.Timer] = {}
        self._closed = False

    def put(self, sender: str, text: str) -> None:
        """Take what a participant says, and pass it on now or later."""
        with self._lock:
            said, now = self._said.setdefault(sender, _Said()), time.monotonic()
            if said.waiting is not None or now - said.at < PAUSE_SECONDS:
                said.waiting = text
                self._later(sender, said.at + PAUSE_SECONDS - now)
            elif text != said.text or now - said.at >= SAME_SECONDS:
                said.text, said.at = text, now
                self._tell(sender, text)

    def close(self) -> None:
        """Pass on nothing any more."""
        with self._lock:
            self._closed = True
            for timer in self._timers.values():
                timer.cancel()

    def _later(self, sender: str, seconds: float) -> None:
        if sender not in self._timers and not self._closed:
            timer = self._timers[sender] = threading.Timer(max(seconds, 0.0), self._on_time, [sender])
            timer.daemon = True
            timer.start()

    def _on_time(self, sender: str) -> None:
        with self._lock:
            self._timers.pop(sender, None)
            said = self._said[sender]
            text, said.waiting = said.waiting, None
            # Back to what was said before: there is nothing new.
            if text is None or text == said.text or self._closed:
                return
            said.text, said.at = text, time.monotonic()
            self._tell(sender, text)
