"""A store may have lost some of its entries, or give back others than it was given.
This module ends the jobs that need them.
"""

from __future__ import annotations

import structlog

from fedbus.job import JobState
from fedbus.store.base import Store
from fedbus.store.records import JobRecord

log = structlog.get_logger()


def end_what_is_missing(store: Store, party: str) -> list[JobRecord]:
    """Enter the failure of jobs that cannot go on because the store is damaged or behind, and return these jobs."""
    ended = []
    for job, error in store.damaged().items():
        log.error("a job ends because its record is damaged", job=job, error=str(error))
        ended.append(store.give_up(job, f"{party}: {error.told}"))
    for record in store.unfinished() if store.lost else ():
        store.set_state(record.job, JobState.FAILED, f"{party}: {store.lost}")
        ended += [record] if not record.state.final else []
    return ended
