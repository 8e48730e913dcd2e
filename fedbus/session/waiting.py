"""A participant waits for a message, and asks its sender for it again and again while it does not come."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator

import structlog

from fedbus.errors import PeerSilent
from fedbus.job import Limits
from fedbus.messages.control import Resend
from fedbus.messages.envelope import Envelope
from fedbus.session.attendance import Attendance
from fedbus.session.post import Post

log = structlog.get_logger()

_LONGEST_RESEND = 300.0


class Waiting:
    """The waits of one participant in one job."""

    def __init__(self, job: str, party: str, post: Post, attendance: Attendance, limits: Limits) -> None:
        self._party = party
        self._post = post
        self._attendance = attendance
        self._limits = limits
        self._deadline = math.inf
        self._log = log.bind(job=job, party=party)

    @contextlib.contextmanager
    def patience(self, seconds: float) -> Iterator[None]:
        """Wait no longer than this for any one message, whether its sender lives or not."""
        self._deadline = time.monotonic() + seconds
        try:
            yield
        finally:
            self._deadline = math.inf

    def wait(self, place: tuple[str, str, int, int], chunk: int) -> Envelope:
        """A piece of a message once it is there; raises PeerSilent where its sender gives no sign of life."""
        sender, kind, round_, batch = place
        limits, since = self._limits, time.monotonic()
        interval, attempt = limits.resend, 0
        while True:
            left = self._deadline - time.monotonic()
            envelope = self._attendance.taken(place, chunk, min(interval, limits.silence, max(left, 0)))
            if envelope is not None:
                return envelope
            silence = self._post.mailbox.silence(sender, since)
            if silence >= limits.silence or left <= interval:
                raise PeerSilent(
                    f"{sender} gave no sign of life for {silence:.0f} s (limits.silence is {limits.silence:g}) "
                    f"while {self._party} waited for {kind} of step {round_}"
                )
            attempt += 1
            interval = min(2 * interval, _LONGEST_RESEND)
            missing = self._post.mailbox.missing(place, chunk)
            self._log.info("message missing; asking for it again", kind=kind, sender=sender, step=round_)
            self._post.whisper(sender, Resend(kind, round_, batch, missing), attempt)
