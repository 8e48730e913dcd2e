"""While a role waits, those for whom it waits are called, and whoever does not answer is named."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import structlog

from fedbus.names import listed
from fedbus.session.mailbox import Mailbox

log = structlog.get_logger()

# A role that waits looks this often who is there: whoever is killed is named within four times of it.
CALL_SECONDS = 3.0
# Without an answer for so long, which is far more than a process that computes takes for one.
_ANSWER_SECONDS = 5.0


class Absence:
    """It calls those who were not heard lately, and tells of each once that it is silent, and once that it is back.

    Args:
        call: asks a participant for a sign of life; the number tells repetitions apart.
        tell: hands on a sentence to whoever watches the job.
    """

    def __init__(self, mailbox: Mailbox, call: Callable[[str, int], None], tell: Callable[[str], None]) -> None:
        self._mailbox = mailbox
        self._call = call
        self._tell = tell
        self._began = time.monotonic()
        self._looked = -CALL_SECONDS
        self._calls = 0
        # When those were called who have not answered, and who was told of as silent.
        self._called: dict[str, float] = {}
        self._silent: set[str] = set()

    def welcome(self) -> None:
        """Tell of those who were silent and were heard again. It is to be called whenever something has arrived."""
        back = [party for party in self._silent if self._mailbox.heard_since(party, self._called[party])]
        for party in back:
            self._silent.remove(party)
            del self._called[party]
        if back:
            log.info("there again", parties=back)
            self._tell(f"{listed(back)} {'is' if len(back) == 1 else 'are'} there again; the job goes on")

    def look(self, parties: Collection[str]) -> None:
        """Find out who of these is there. It is to be called at least every CALL_SECONDS while they are waited for."""
        self.welcome()
        now, fallen = time.monotonic(), list[str]()
        if now - self._looked < CALL_SECONDS / 2:
            return
        self._looked = now
        for party in parties:
            if party in self._mailbox.failures:
                continue
            called = self._called.get(party)
            if called is not None and self._mailbox.heard_since(party, called):
                del self._called[party]
            elif called is None and not self._mailbox.heard_since(party, now - CALL_SECONDS):
                self._called[party] = now
                self._calls += 1
                self._call(party, self._calls)
            elif called is not None and now - called >= _ANSWER_SECONDS and party not in self._silent:
                self._silent.add(party)
                fallen.append(party)
        if fallen:
            silence = min(self._mailbox.silence(party, self._began) for party in fallen)
            since = time.strftime("%H:%M:%S", time.gmtime(time.time() - silence))
            log.warning("no sign of life", parties=fallen, seconds=round(silence))
            self._tell(
                f"waiting for {listed(fallen)}: no sign of life since {since} UTC, {silence:.0f} s ago; "
                "is fedbus-party running there, and connected?"
            )
