"""The cohort is the parties that take part in a sum: who is there, who is asked, and who has answered in time."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, NoReturn

import structlog

from coordinator.sums.gathering import Gathering
from fedbus.algorithms.sums.messages import Abstained, EncryptedSum, RevealRequest
from fedbus.algorithms.sums.rules import SumRules
from fedbus.errors import JobFailed
from fedbus.job import JobSpec
from fedbus.messages.control import Notice
from fedbus.messages.envelope import Message
from fedbus.messages.fields import shortened
from fedbus.session.session import Session

log = structlog.get_logger()


class Cohort:
    """The parties of a job whose vectors are summed.

    Args:
        absent: who did not answer in time when last asked, as a checkpoint has it.
        reasons: as below, of the same checkpoint.

    Attributes:
        reasons: why a party was last left out of a sum, for the report.
    """

    def __init__(
        self, session: Session[JobSpec], rules: SumRules, absent: Sequence[str], reasons: dict[str, str]
    ) -> None:
        self.session = session
        self.rules = rules
        self.reasons = dict(reasons)
        # Since when each has not been heard.
        self._absent = dict.fromkeys(absent, time.monotonic())

    @property
    def _silence(self) -> float:
        return self.session.spec.limits.silence

    @property
    def absent(self) -> list[str]:
        """Return the parties that are absent, for a checkpoint."""
        return list(self._absent)

    def present(self) -> tuple[str, ...]:
        """Return who can be asked: all but those who failed, or who missed their turn and have not been heard since."""
        failed = self.session.attendance.failures
        for party, since in list(self._absent.items()):
            if self.session.attendance.heard_since(party, since) and party not in failed:
                log.info("a party is back", job=self.session.job, party=party)
                del self._absent[party]
        self.reasons.update(failed)
        return tuple(party for party in self.rules.parties if party not in failed and party not in self._absent)

    def tell(self, event: str, text: str, **fields: Any) -> None:
        """Tell the log, and whoever watches the job."""
        log.warning(event, job=self.session.job, **fields)
        self.session.publish_event(Notice(shortened(text)))

    def wait_for(self, least: int) -> tuple[str, ...]:
        """Return the present parties, once they are so many.

        Raises:
            JobFailed: they are not, for as long as limits.silence.
        """

        def enough() -> bool:
            return len(self.present()) >= least or self._possible() < least

        if not enough():
            self._tell_wait(self.absent, least)
        if not self.session.attendance.wait_until(enough, self._silence) or self._possible() < least:
            raise JobFailed(self._too_few(least))
        return self.present()

    def choose(self, eligible: Sequence[str]) -> tuple[str, ...]:
        """Choose a round's members: those present of the eligible, or as many as client_fraction says, drawn at random.

        () where there are too few.
        """
        present = tuple(party for party in self.present() if party in eligible)
        if len(present) < self.rules.min_clients:
            return ()
        wanted = max(self.rules.min_clients, math.ceil(self.rules.client_fraction * len(self.rules.parties)))
        if wanted >= len(present):
            return present
        drawn = self.session.random("members").permutation(len(present))[:wanted]
        return self.rules.in_order([present[int(position)] for position in drawn])

    def survivors(
        self, kind: type[Message], members: Sequence[str], told: RevealRequest | EncryptedSum | None
    ) -> tuple[str, ...]:
        """Return those whose vector is there. Once parties were told who is in the sum, none of these may be absent.

        Raises:
            JobFailed: as `gather`.
        """
        if told is not None:
            return self.gather(kind, told.survivors, len(told.survivors))
        return self.gather(kind, members, self.rules.min_clients)

    def gather(self, kind: type[Message], asked: Sequence[str], least: int, *, all_of: bool = True) -> tuple[str, ...]:
        """Return those whose message of this kind is there, once all have answered, or `least` have in time.

        Whoever does not answer by then counts as absent.

        Args:
            all_of: False is content with `least` at once.

        Raises:
            JobFailed: fewer have answered, for as long as limits.silence, or can.
        """
        gathering = Gathering(
            self.session,
            kind,
            asked,
            least,
            deadline=self.rules.deadline,
            all_of=all_of,
            tell=lambda waited_for: self._tell_wait(waited_for, least),
        )
        there, open_ = gathering.wait()
        if len(there) < least:
            self._fail(asked, open_, least)
        if all_of:
            self._go_on_without(open_)
        return self.rules.in_order(there)

    def _fail(self, asked: Sequence[str], silent: Sequence[str], least: int) -> NoReturn:
        """End the job for want of answers; the reason says why each party gave none."""
        self.excuse(asked)
        for party in silent:
            self.reasons[party] = f"gave no sign of life for {self._silence:g} s (limits.silence)"
        raise JobFailed(self._too_few(least))

    def _go_on_without(self, late: Sequence[str]) -> None:
        """Count those who are late as absent until they are heard again."""
        for party in late:
            log.warning("a party is late; the round goes on without it", job=self.session.job, party=party)
            self.reasons[party] = f"did not answer within {self.rules.deadline:g} s (params.deadline)"
            self._absent[party] = time.monotonic()

    def excuse(self, asked: Sequence[str]) -> list[str]:
        """Note who of these abstained in this round, and why. Return those who have no keys for it."""
        session, keyless = self.session, []
        for party in asked:
            if not session.attendance.arrived(party, Abstained):
                continue
            message = session.recv(party, Abstained)
            self.reasons[party] = message.reason
            if message.keyless:
                keyless.append(party)
            log.warning("a party abstains", job=session.job, party=party, reason=message.reason)
        return keyless

    def _tell_wait(self, parties: Sequence[str], least: int) -> None:
        text = f"waiting for {', '.join(parties)}: a round takes {least} of the {len(self.rules.parties)} parties"
        self.tell("waiting for parties", text, parties=list(parties), least=least)

    def _possible(self) -> int:
        return len(self.rules.parties) - len(self.session.attendance.failures)

    def _too_few(self, least: int) -> str:
        self.reasons.update(self.session.attendance.failures)
        why = "; ".join(f"{party}: {reason}" for party, reason in self.reasons.items())
        return f"a round takes {least} of the {len(self.rules.parties)} parties, and fewer answer: {why or 'no answer'}"
