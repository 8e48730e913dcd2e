"""A job asks the coordinator for one way of summing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coordinator.sums.base import Sums
from coordinator.sums.cohort import Cohort
from coordinator.sums.homomorphic import EncryptedSums
from coordinator.sums.masked import MaskedSums
from coordinator.sums.plain import PlainSums
from fedbus.crypto.engine import Engine
from fedbus.job import JobSpec
from fedbus.session.session import Session


def sums_of(
    session: Session[JobSpec],
    cohort: Cohort,
    engine: Engine,
    state: dict[str, Any],
    sums_left: Callable[[], int],
    *,
    keep: bool = False,
) -> Sums:
    """Return the job's way of summing.

    Args:
        state: of a checkpoint, {} before the first.
        sums_left: how many sums the job may still need at most.
        keep: hold on to each party's vector, where the coordinator sees them.
    """
    match cohort.rules.aggregation:
        case "masked":
            return MaskedSums(session, cohort, state, sums_left)
        case "paillier":
            return EncryptedSums(session, cohort, engine, state)
        case _:
            return PlainSums(session, cohort, keep=keep)
