"""The coordinator sums in the clear: it sees each party's vector, which robust strategies compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from coordinator.sums.base import Sum, read
from coordinator.sums.cohort import Cohort
from fedbus.algorithms.sums.layout import SumLayout
from fedbus.algorithms.sums.messages import PlainUpdate
from fedbus.job import JobSpec
from fedbus.session.session import Session


class PlainSums:
    """Sums of vectors that come as they are.

    Args:
        keep: hold on to each vector, for strategies that compare them.
    """

    def __init__(self, session: Session[JobSpec], cohort: Cohort, *, keep: bool) -> None:
        self._session = session
        self._cohort = cohort
        self._keep = keep
        self.state: dict[str, Any] = {}

    @property
    def eligible(self) -> Sequence[str]:
        """See `Sums`; these are all parties."""
        return self._cohort.rules.parties

    def prepare(self) -> bool:
        """See `Sums`; no keys are needed."""
        return False

    def assign(self) -> tuple[int, int]:
        """See `Sums`; no keys serve it."""
        return -1, 0

    def sum(self, layout: SumLayout, members: Sequence[str]) -> Sum:
        """See `Sums`."""
        session, cohort = self._session, self._cohort
        survivors = cohort.gather(PlainUpdate, members, cohort.rules.min_clients)
        cohort.excuse(members)
        total, seconds, vectors = np.zeros(layout.length, layout.ring.dtype), {}, []
        for party in survivors:
            vector = np.zeros(layout.length, layout.ring.dtype) if self._keep else None
            for start, residues, took in read(session, party, PlainUpdate, layout):
                layout.ring.add(total[start : start + len(residues)], residues)
                seconds[party] = took
                if vector is not None:
                    vector[start : start + len(residues)] = residues
            if vector is not None:
                vectors.append(vector)
        return Sum(layout, total, survivors, seconds, tuple(vectors))
