"""What one participant has received in one job and not yet read, by place and not by arrival."""

from __future__ import annotations

import threading
import time

from fedbus.errors import ProtocolError
from fedbus.messages import Envelope, Failed

Place = tuple[str, str, int, int]

# How many rounds a message can be ahead of what its recipient last waited for. A sender needs the recipient's word, or
# that of one who had it, in each round of training. The end has three rounds in which a host only sends: the last pass,
# the held-out rows, and its figures.
AHEAD = 3


class Mailbox:
    """Messages by (sender, kind, round, batch) and chunk; one thread reads, others put."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._messages: dict[Place, dict[int, Envelope]] = {}
        self._heard: dict[str, float] = {}
        self._error: Exception | None = None
        self._round: int | None = None

    def put(self, envelope: Envelope) -> None:
        """Add a message; one further ahead than the protocol can be fails the mailbox instead."""
        place = (envelope.sender, envelope.kind, envelope.round, envelope.batch)
        with self._changed:
            # Where nothing has been waited for yet, as after a restart, what came first tells where the job is.
            rounds = [envelope.round, *(held[2] for held in self._messages)]
            if max(rounds) > (min(rounds) if self._round is None else self._round) + AHEAD:
                reason = f"{envelope.sender} sent a {envelope.kind} of round {envelope.round}, too far ahead of the job"
                self._error = self._error or ProtocolError(reason)
                self._changed.notify_all()
                return
            self._messages.setdefault(place, {})[envelope.chunk] = envelope
            self._heard[envelope.sender] = time.monotonic()
            self._changed.notify_all()

    def heard(self, sender: str) -> None:
        """The sender lives, whatever it said."""
        with self._changed:
            self._heard[sender] = time.monotonic()

    def silence(self, sender: str, since: float) -> float:
        """Seconds since the sender was last heard, or since `since` (monotonic) if that is later."""
        with self._changed:
            return time.monotonic() - max(self._heard.get(sender, since), since)

    def fail(self, error: Exception) -> None:
        """Make the reader raise this error; the first one counts."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def check(self) -> None:
        """Raise the error that the mailbox was failed with, if any."""
        with self._changed:
            if self._error is not None:
                raise self._error

    def take(self, place: Place, chunk: int, timeout: float) -> Envelope | None:
        """Remove and return a chunk; None where it does not come within the timeout (seconds).

        Raises:
            Exception: the one the mailbox was failed with.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            self._round = place[2]
            while True:
                if self._error is not None:
                    raise self._error
                envelope = self._messages.get(place, {}).pop(chunk, None)
                if envelope is not None:
                    if not self._messages[place]:
                        del self._messages[place]
                    return envelope
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)

    def missing(self, place: Place, first: int) -> list[int]:
        """The chunks from `first` on that have not come; [] where none has, so that their number is not known."""
        with self._changed:
            came = self._messages.get(place, {})
            if not came:
                return []
            total = next(iter(came.values())).chunks
            return [chunk for chunk in range(first, total) if chunk not in came]

    def drop_until(self, round_: int) -> None:
        """Forget messages of rounds up to this one, which a checkpoint covers."""
        with self._changed:
            self._round = max(round_, -1 if self._round is None else self._round)
            stale = [place for place in self._messages if place[2] <= round_ and place[1] != Failed.kind]
            for place in stale:
                del self._messages[place]
