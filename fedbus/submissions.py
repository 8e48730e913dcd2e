"""A submission of which no coordinator has spoken may have been lost after the broker had confirmed it.

The coordinator's queue of requests can lose its leader, with what was in it, in a kill of RabbitMQ soon after its
declaration. A client that waits for its job hears then that the coordinator does not know it, and submits it again
under the same id: the coordinator enters an id once.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from fedbus.job import UNKNOWN
from fedbus.messages.control import StateChanged
from fedbus.messages.envelope import Envelope, Message

# How often a job is submitted at most, and seconds between: answers to what was asked before are not counted.
MOST_TIMES = 3
PAUSE_SECONDS = 5.0


@dataclass(slots=True)
class _Submission:
    envelope: Envelope
    times: int = 1
    again_at: float = 0.0


class Submissions:
    """The submissions of one client. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, _Submission] = {}

    def add(self, envelope: Envelope) -> None:
        """Take note that a job is submitted."""
        with self._lock:
            self._open[envelope.job] = _Submission(envelope)

    def heard(self, job: str, event: Message) -> None:
        """Take note that the coordinator says something of a job."""
        if isinstance(event, StateChanged) and event.state != UNKNOWN:
            with self._lock:
                self._open.pop(job, None)

    def again(self, job: str) -> Envelope | None:
        """Return what is to be submitted again, now that the coordinator does not know the job;
        None where nothing is.
        """
        with self._lock:
            submission, now = self._open.get(job), time.monotonic()
            if submission is None or submission.times == MOST_TIMES or now < submission.again_at:
                return None
            submission.times += 1
            submission.again_at = now + PAUSE_SECONDS
            return submission.envelope

    def may_come(self, job: str, event: Message) -> bool:
        """Return whether a job that the coordinator does not know may reach it yet."""
        if not isinstance(event, StateChanged) or event.state != UNKNOWN:
            return False
        with self._lock:
            submission = self._open.get(job)
            return submission is not None and (submission.times < MOST_TIMES or time.monotonic() < submission.again_at)
