"""The coordinator waits for the answers of several parties, some of whom may never answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from fedbus.algorithms.sums.messages import Abstained
from fedbus.job import JobSpec
from fedbus.messages.envelope import Message
from fedbus.session.session import Session


class Gathering:
    """Answers of one kind to an order of this session round.

    It ends once all have answered, or `least` have and the deadline is over, or those who have not are silent too long.

    Args:
        asked: from whom an answer is due.
        least: so many answers are enough at the deadline, or at once where not `all_of`.
        deadline: seconds.
        tell: is called once with those who are waited for, where the deadline is over and fewer have answered.
    """

    def __init__(
        self,
        session: Session[JobSpec],
        kind: type[Message],
        asked: Sequence[str],
        least: int,
        *,
        deadline: float,
        all_of: bool,
        tell: Callable[[Sequence[str]], None],
    ) -> None:
        self._session = session
        self._kind = kind
        self._asked = asked
        self._least = least
        self._deadline = deadline
        self._all_of = all_of
        self._tell = tell
        self._began = self._asked_at = time.monotonic()
        self._attempt = 0
        self._told = False

    def wait(self) -> tuple[list[str], list[str]]:
        """Return who has answered in the end, and whose answer is still open."""
        while True:
            there, open_ = self._sort()
            # Read once for all steps: between two of them the deadline may pass.
            left = self._began + self._deadline - time.monotonic()
            if not open_ or self._is_enough(there, left) or self._are_silent(open_):
                return there, open_
            if left <= 0:
                self._tell_once(open_)
            self._remind(open_)
            self._wait_for_change(len(there) + len(self._asked) - len(open_), left)

    def _sort(self) -> tuple[list[str], list[str]]:
        """Return who has answered, and whose answer is still open: they neither failed nor abstained."""
        attendance = self._session.attendance
        there = [party for party in self._asked if attendance.arrived(party, self._kind)]
        rest = [party for party in self._asked if party not in there and party not in attendance.failures]
        return there, [party for party in rest if not attendance.arrived(party, Abstained)]

    def _is_enough(self, there: Sequence[str], left: float) -> bool:
        return len(there) >= self._least and (not self._all_of or left <= 0)

    def _are_silent(self, parties: Sequence[str]) -> bool:
        attendance, silence = self._session.attendance, self._session.spec.limits.silence
        return all(attendance.silence(party, self._began) >= silence for party in parties)

    def _tell_once(self, open_: Sequence[str]) -> None:
        """Say who is waited for although the deadline is over."""
        if not self._told:
            self._told = True
            self._tell(open_)

    def _remind(self, open_: Sequence[str]) -> None:
        """Ask again for what may have been lost, every limits.resend seconds."""
        if time.monotonic() - self._asked_at >= self._session.spec.limits.resend:
            self._attempt, self._asked_at = self._attempt + 1, time.monotonic()
            for party in open_:
                self._session.attendance.ask(party, self._kind, self._attempt)

    def _wait_for_change(self, known: int, left: float) -> None:
        """Wait until another number of parties than is known have settled, or there is something to do meanwhile.

        Args:
            left: seconds to the deadline; it is over where this is not above 0.
        """

        def changed() -> bool:
            there, open_ = self._sort()
            return len(there) + len(self._asked) - len(open_) != known

        limits = self._session.spec.limits
        seconds = [limits.resend, limits.silence, *([left] if left > 0 else [])]
        self._session.attendance.wait_until(changed, min(seconds), lambda: self._sort()[1])
