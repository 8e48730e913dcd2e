"""The mailbox holds what one participant has received in one job and not yet read, by place and not by arrival."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from fedbus.errors import PeerFailed, ProtocolError
from fedbus.messages.control import Failed
from fedbus.messages.envelope import Envelope
from fedbus.messages.fields import MAX_ASKED_FOR

Place = tuple[str, str, int, int]

# How many rounds a message can be ahead of what its recipient last waited for. A sender needs the recipient's word, or
# that of one who had it, in each round of training. The end has three rounds in which a host only sends: the last pass,
# the held-out rows, and its figures.
AHEAD = 3
# Bytes of messages held in memory; what comes above it is read from the journal when it is wanted.
HELD_BYTES = 8 * 1024**2


@dataclass(frozen=True, slots=True)
class _Held:
    """A message, or where it is only journalled its id.

    Attributes:
        chunks: of the whole message.
        size: bytes in memory.
    """

    id: str
    chunks: int
    size: int
    envelope: Envelope | None


class Mailbox:
    """It holds messages by (sender, kind, round, batch) and chunk. One thread reads, and others put.

    Args:
        load: gives a journalled message by its id, for those that are not held in memory.
        ahead: rounds that a message may be ahead of the reader; None where rounds need not follow each other.
        tolerant: a participant that failed is no reason to fail the reader, who can do without it.
    """

    def __init__(
        self,
        load: Callable[[str], Envelope] | None = None,
        *,
        ahead: int | None = AHEAD,
        tolerant: bool = False,
    ) -> None:
        self._changed = threading.Condition()
        self._messages: dict[Place, dict[int, _Held]] = {}
        self._bytes = 0
        self._heard: dict[str, float] = {}
        self._failures: dict[str, str] = {}
        self._error: Exception | None = None
        self._round: int | None = None
        self._load = load
        self._ahead = ahead
        self._tolerant = tolerant

    def put(self, envelope: Envelope, size: int = 0) -> None:
        """Add a message of so many bytes.
        One that is further ahead than the protocol can be fails the mailbox instead.
        """
        place = (envelope.sender, envelope.kind, envelope.round, envelope.batch)
        with self._changed:
            if self._too_far(envelope):
                if self._tolerant:
                    # One of many who is not where it can be is no reason to end the job for all.
                    return
                reason = f"{envelope.sender} sent a {envelope.kind} of step {envelope.round}, too far ahead of the job"
                self._error = self._error or ProtocolError(reason)
                self._changed.notify_all()
                return
            aside = self._load is not None and self._bytes + size > HELD_BYTES
            held = _Held(envelope.id, envelope.chunks, 0 if aside else size, None if aside else envelope)
            self._bytes += held.size
            self._messages.setdefault(place, {})[envelope.chunk] = held
            self._heard[envelope.sender] = time.monotonic()
            self._changed.notify_all()

    def _too_far(self, envelope: Envelope) -> bool:
        if self._ahead is None:
            return False
        # Where nothing has been waited for yet, as after a restart, what came first tells where the job is.
        rounds = [envelope.round, *(held[2] for held in self._messages)]
        return max(rounds) > (min(rounds) if self._round is None else self._round) + self._ahead

    def heard(self, sender: str) -> None:
        """Take note that the sender lives, whatever it said."""
        with self._changed:
            self._heard[sender] = time.monotonic()
            self._changed.notify_all()

    def returned(self, sender: str) -> None:
        """Take note that the sender lives, and that it was started again if it had failed."""
        with self._changed:
            self._failures.pop(sender, None)
            self.heard(sender)

    def heard_since(self, sender: str, since: float) -> bool:
        """Return whether the sender gave a sign of life after this time (monotonic)."""
        with self._changed:
            return self._heard.get(sender, -1.0) > since

    def silence(self, sender: str, since: float) -> float:
        """Return the seconds since the sender was last heard, or since `since` (monotonic) if that is later."""
        with self._changed:
            return time.monotonic() - max(self._heard.get(sender, since), since)

    def fail(self, error: Exception) -> None:
        """Make the reader raise this error. The first one counts."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def peer_failed(self, sender: str, reason: str) -> None:
        """Take note that a participant said that it cannot go on."""
        if not self._tolerant:
            self.fail(PeerFailed(f"{sender}: {reason}"))
            return
        with self._changed:
            self._failures[sender] = reason
            self._changed.notify_all()

    def peer_erred(self, sender: str, reason: str) -> None:
        """Take note that a participant sent what is no message. Whoever can do without it counts it as failed."""
        if self._tolerant and sender:
            self.peer_failed(sender, reason)
        else:
            self.fail(ProtocolError(reason))

    @property
    def failures(self) -> dict[str, str]:
        """Return the participants that cannot go on, and why; only a tolerant mailbox has any."""
        with self._changed:
            return dict(self._failures)

    def check(self) -> None:
        """Raise the error that the mailbox was failed with, if any."""
        with self._changed:
            if self._error is not None:
                raise self._error

    def take(self, place: Place, chunk: int, timeout: float) -> Envelope | None:
        """Remove and return a chunk; None where it does not come within the timeout (seconds).

        Raises:
            Exception: the one the mailbox was failed with; PeerFailed where the sender cannot go on.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            self._round = place[2]
            while True:
                if self._error is not None:
                    raise self._error
                held = self._messages.get(place, {}).pop(chunk, None)
                if held is not None:
                    self._bytes -= held.size
                    if not self._messages[place]:
                        del self._messages[place]
                    break
                if place[0] in self._failures:
                    raise PeerFailed(f"{place[0]}: {self._failures[place[0]]}")
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)
        if held.envelope is not None:
            return held.envelope
        assert self._load is not None  # noqa: S101  # without it nothing is put aside
        return self._load(held.id)

    def complete(self, place: Place) -> bool:
        """Return whether all chunks of a message have arrived, and none was taken."""
        with self._changed:
            came = self._messages.get(place, {})
            return bool(came) and len(came) == next(iter(came.values())).chunks

    def wait(self, done: Callable[[], bool], timeout: float) -> bool:
        """Wait for a condition of this mailbox, and return whether it holds.
        Raise the error that it was failed with.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or done(), timeout)
            if self._error is not None:
                raise self._error
            return done()

    def rounds(self, sender: str, kinds: Collection[str], after: int) -> list[int]:
        """Return the rounds after this one in which the sender has sent one of these kinds, in order."""
        with self._changed:
            return sorted({p[2] for p in self._messages if p[0] == sender and p[1] in kinds and p[2] > after})

    def kinds(self, sender: str, round_: int) -> set[str]:
        """Return the kinds of messages that the sender has sent in a round."""
        with self._changed:
            return {place[1] for place in self._messages if place[0] == sender and place[2] == round_}

    def missing(self, place: Place, first: int) -> list[int]:
        """Return the first chunks from `first` on that have not arrived;
        [] where none has, for their number is not known then.
        """
        with self._changed:
            came = self._messages.get(place, {})
            if not came:
                return []
            total = next(iter(came.values())).chunks
            wanted = (chunk for chunk in range(first, total) if chunk not in came)
            return list(itertools.islice(wanted, MAX_ASKED_FOR))

    def drop_until(self, round_: int) -> None:
        """Forget messages of rounds up to this one, which a checkpoint covers."""
        with self._changed:
            self._round = max(round_, -1 if self._round is None else self._round)
            for place in [place for place in self._messages if place[2] <= round_ and place[1] != Failed.kind]:
                self._forget(place)

    def _forget(self, place: Place) -> None:
        self._bytes -= sum(held.size for held in self._messages.pop(place).values())
