"""Who is there and what has come, for roles in which a participant may be missing: one leads, the others follow."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from fedbus.errors import PeerSilent, ProtocolError
from fedbus.job import JobSpec
from fedbus.messages.control import Alive, Ping, Resend, ResendAfter
from fedbus.messages.envelope import Envelope, Message
from fedbus.session.absence import CALL_SECONDS, Absence
from fedbus.session.mailbox import Place as MailPlace
from fedbus.session.post import Post


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the job: where the role is, or where a message belongs; see Envelope."""

    round: int = 0
    batch: int = 0


class Attendance:
    """What a session knows of the other participants.

    Args:
        place: gives where the role is.
        tell: is told who is silent while this role waits for others.
    """

    def __init__(
        self, post: Post, place: Callable[[], Place], spec: JobSpec, tell: Callable[[str], None] | None = None
    ) -> None:
        self._post = post
        self._place = place
        self._limits = spec.limits
        self._parties = spec.parties
        self._absence = None if tell is None else Absence(post.mailbox, self._call, tell)

    def next_order(self, sender: str, kinds: Sequence[type[Message]]) -> tuple[int, type[Message]]:
        """Return the next round in which the sender says one of these kinds, and which kind it says.

        Raises:
            PeerSilent: the sender gave no sign of life for longer than the job allows.
            ProtocolError: it says several in one round.
        """
        mailbox, limits, since = self._post.mailbox, self._limits, time.monotonic()
        names, after, attempt = {kind.kind: kind for kind in kinds}, self._place().round, 0
        while not mailbox.wait(lambda: bool(mailbox.rounds(sender, names, after)), limits.resend):
            if mailbox.silence(sender, since) >= limits.silence:
                raise PeerSilent(f"{sender} gave no sign of life for {limits.silence:g} s (limits.silence)")
            attempt += 1
            self._post.whisper(sender, ResendAfter(after), attempt)
        round_ = mailbox.rounds(sender, names, after)[0]
        (kind, *others) = mailbox.kinds(sender, round_) & set(names)
        if others:
            raise ProtocolError(f"{sender} gave several orders in step {round_}")
        return round_, names[kind]

    def is_overtaken(self, sender: str, kinds: Sequence[type[Message]]) -> bool:
        """Return whether the sender has said one of these kinds in a later round already."""
        return bool(self._post.mailbox.rounds(sender, [kind.kind for kind in kinds], self._place().round))

    def arrived(self, sender: str, kind: type[Message]) -> bool:
        """Return whether the whole of the sender's message of this kind at this place has arrived."""
        return self._post.mailbox.complete((sender, kind.kind, self._place().round, self._place().batch))

    def wait_until(
        self, done: Callable[[], bool], seconds: float, asked: Callable[[], Collection[str]] = tuple
    ) -> bool:
        """Wait for something that arrivals, signs of life or failures bring about. Return whether it came.

        Args:
            asked: whose doing it would be; who of them is silent meanwhile is told.
        """
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            came = self._post.mailbox.wait(done, max(0.0, min(left, CALL_SECONDS)))
            self._see(asked, came=came)
            if came or left <= CALL_SECONDS:
                return came

    def taken(self, place: MailPlace, chunk: int, seconds: float) -> Envelope | None:
        """Return what comes within some seconds. Parties that are silent meanwhile may be the cause, and are told."""
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            envelope = self._post.mailbox.take(place, chunk, max(0.0, min(left, CALL_SECONDS)))
            self._see(lambda: self._parties, came=envelope is not None)
            if envelope is not None or left <= CALL_SECONDS:
                return envelope

    def _see(self, asked: Callable[[], Collection[str]], *, came: bool) -> None:
        """See who is there after a wait: after one in vain who is silent, and otherwise who is back."""
        if self._absence is None:
            return
        if came:
            self._absence.welcome()
        else:
            self._absence.look(asked())

    def _call(self, party: str, number: int) -> None:
        self._post.whisper(party, Ping(), number)

    def heard_since(self, sender: str, since: float) -> bool:
        """Return whether the sender gave a sign of life after this time (monotonic)."""
        return self._post.mailbox.heard_since(sender, since)

    def silence(self, sender: str, since: float) -> float:
        """Return the seconds since the sender was last heard, or since `since` (monotonic) if that is later."""
        return self._post.mailbox.silence(sender, since)

    @property
    def failures(self) -> dict[str, str]:
        """Return the participants that said they cannot go on, and why, where the role can do without them."""
        return self._post.mailbox.failures

    def ask(self, sender: str, kind: type[Message], attempt: int) -> None:
        """Ask for what is missing of a message at this place; `attempt` tells repetitions apart."""
        place = (sender, kind.kind, self._place().round, self._place().batch)
        missing = self._post.mailbox.missing(place, 0)
        self._post.whisper(sender, Resend(kind.kind, self._place().round, self._place().batch, missing), attempt)

    def greet(self, peer: str) -> None:
        """Give a sign of life."""
        self._post.whisper(peer, Alive())
