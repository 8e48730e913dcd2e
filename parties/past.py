"""The rules of a party's policy that remember earlier jobs: how many a day, what epsilon is left, which rows were used.

One job's result may tell little of a row, and the difference between two results of nearly the same rows tells what
the few rows did that only one of them had.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Sequence

import structlog

from fedbus.errors import JobRefused, StoreFull
from fedbus.job import JobSpec
from fedbus.session.session import Session
from fedbus.store.base import Store
from fedbus.store.records import Sketch, Used
from parties.data.use import Use
from parties.policy import Policy

log = structlog.get_logger()

_DAY_SECONDS = 24 * 3600.0
# Epsilons are added as floating point numbers.
_ROUNDING = 1e-9
# Of all jobs of a process: what a job is checked against and what it is charged must not come apart.
_charging = threading.Lock()


class Remembered(Use):
    """The use of a party's data set by a job, as the party's store keeps it.

    Args:
        session: of the job, which waits where the store's disk is full.
        store: of the party, which has the job in its ledger.
    """

    def __init__(self, session: Session[JobSpec], store: Store, policy: Policy) -> None:
        self._session, self._store, self._policy = session, store, policy
        self._job, self._dataset = session.job, session.spec.part_of(session.party).dataset
        self._epsilon = session.spec.epsilon
        self._is_new = False

    def begin(self) -> None:
        """Enter the job, and charge what it may spend; nothing where it is entered already.

        Raises:
            JobRefused: it is one job too many today, or would pass the budget of its data set.
        """
        with _charging:
            if self._store.past.used(self._job) is not None:
                return
            self._check_day()
            budget = self._policy.epsilon.get(self._dataset)
            if budget is not None and self._epsilon is not None:
                self._check_budget(budget, self._epsilon)
            # What jobs spend is entered without a budget too: one that is set later counts them.
            enter = functools.partial(self._store.past.begin, self._job, self._dataset, self._epsilon)
            self._session.when_there_is_room(enter)
            self._is_new = True

    def go_on(self) -> None:
        """Enter that the job goes on after a restart: what it had spent until then is not all of it."""
        self._session.when_there_is_room(lambda: self._store.past.spend(self._job, None))

    def take_back(self) -> None:
        """Forget the job where it was entered by this object, and did not begin."""
        if self._is_new:
            self._store.past.drop(self._job)

    def on(self, ids: Sequence[str]) -> None:
        """See Use."""
        past, most = self._store.past, self._policy.max_similar_jobs
        sketch = past.sketch(ids)
        with _charging:
            # Sketches are kept without the rule too: one that is set later knows of all jobs.
            alike = [] if most is None else self._alike(sketch)
            if most is not None and len(alike) >= most:
                log.warning("jobs on nearly the same rows", job=self._job, jobs=[used.job for used in alike])
                raise JobRefused(
                    f"{_jobs(len(alike))} here had nearly the same {len(ids)} rows of data set '{self._dataset}', and"
                    f" this party's policy allows {most} (`max_similar_jobs`): by what the results of such jobs differ,"
                    " one learns of the few rows that only one of them had; use what these jobs gave, or ask its"
                    " operator to raise it"
                )
            self._session.when_there_is_room(lambda: past.enter_rows(self._job, sketch))

    def _alike(self, sketch: Sketch) -> list[Used]:
        """The other jobs that had nearly the rows of this sketch."""
        return [
            used
            for used in self._store.past.uses(self._dataset)
            if used.job != self._job
            and used.sketch is not None
            and used.sketch.resemblance(sketch) >= self._policy.similar_rows
        ]

    def spent(self, epsilon: float) -> None:
        """See Use."""
        # Where the disk is full the job counts for what it might have spent.
        with contextlib.suppress(StoreFull):
            self._store.past.spend(self._job, epsilon)

    def _check_day(self) -> None:
        most = self._policy.max_jobs_per_day
        if most is None:
            return
        recent = self._store.past.since(time.time() - _DAY_SECONDS)
        if len(recent) >= most:
            again = min(used.at for used in sorted(recent, key=lambda used: used.at)[-most:]) + _DAY_SECONDS
            at = time.strftime("%Y-%m-%d %H:%M", time.gmtime(again))
            raise JobRefused(
                f"{_jobs(len(recent))} began here within 24 hours, and this party's policy allows {most}"
                f" (`max_jobs_per_day`); submit the job again after {at} UTC, or ask its operator to raise it"
            )

    def _check_budget(self, budget: float, epsilon: float) -> None:
        gone = sum(self._counted(used) for used in self._store.past.uses(self._dataset))
        if gone + epsilon > budget + _ROUNDING:
            left = max(0.0, budget - gone)
            remedy = f"lower privacy.epsilon to {left:.4g}" if left >= _ROUNDING else "nothing is left"
            raise JobRefused(
                f"the job may spend an epsilon of {epsilon:g} on this party's data set '{self._dataset}', whose budget"
                f" is {budget:g} over all jobs, {gone:.4g} of it spent (`epsilon` of its policy); {remedy}, or ask its"
                " operator to raise the budget"
            )

    def _counted(self, used: Used) -> float:
        """What a use counts for: what a job spent that has ended, what it may spend while it goes on."""
        record = self._store.job(used.job)
        if used.spent is not None and record is not None and record.state.final:
            return used.spent
        return used.charged or 0.0


def _jobs(count: int) -> str:
    return f"{count} job" if count == 1 else f"{count} jobs"
