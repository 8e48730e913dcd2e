"""A sum over the parties' vectors, whatever hides them: what comes of it, and how pieces of vectors are read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fedbus.algorithms.sums import limbs
from fedbus.algorithms.sums.layout import SumLayout, block_ranges
from fedbus.algorithms.sums.messages import MaskedUpdate, PlainUpdate
from fedbus.errors import ProtocolError
from fedbus.job import JobSpec
from fedbus.session.session import Session


@dataclass(frozen=True, slots=True)
class Sum:
    """A sum over parties.

    Attributes:
        total: (layout.length,) residues of the layout's ring.
        survivors: whose vectors are in it.
        seconds: that each one's computation took.
        vectors: each survivor's own, where the coordinator may see them; () otherwise.
    """

    layout: SumLayout
    total: np.ndarray
    survivors: tuple[str, ...]
    seconds: dict[str, float]
    vectors: tuple[np.ndarray, ...] = ()

    def values(self, weight: float) -> Iterator[tuple[int, np.ndarray]]:
        """Return the entries over the survivors' weight, float64, in pieces with their first positions."""
        for start, stop in block_ranges(0, self.layout.numbers):
            yield start, self.layout.ring.decode(self.total[start:stop]) / weight

    def updates(self, weights: Sequence[float]) -> np.ndarray:
        """Return each survivor's own update, (survivors, entries) float32: its vector over its weight."""
        found = np.empty((len(self.vectors), self.layout.numbers), np.float32)
        for row, vector, weight in zip(found, self.vectors, weights, strict=True):
            row[:] = self.layout.ring.decode(vector[: self.layout.numbers]) / weight
        return found

    def metrics(self) -> list[float]:
        """Return the sums of the metrics; [] where the task does not measure."""
        return limbs.decode(self.total[self.layout.numbers :].astype(np.int64))


class Sums(Protocol):
    """One way of aggregation; see parties/sums/hiding.py for the other side.

    An algorithm's round is: `prepare` until nothing has to be, an order of its own with window and slot of `assign` to
    members of the eligible, `sum`. Once the order was given, also before a restart, nothing is prepared any more.
    """

    @property
    def state(self) -> dict[str, Any]:
        """Return the state as a map, for a checkpoint."""

    @property
    def eligible(self) -> Sequence[str]:
        """Return the parties that have what it takes to be asked for a vector."""

    def prepare(self) -> bool:
        """Exchange keys where it is time to, in session rounds of their own. Return whether that was so.

        It begins in this session round, and ends in the last one that it took, which is to be checkpointed.
        """

    def assign(self) -> tuple[int, int]:
        """Return the window and the slot of the keys that serve the next sum."""

    def sum(self, layout: SumLayout, members: Sequence[str]) -> Sum:
        """Gather the vectors of those who were asked in this session round, and add them.

        It ends in this session round or a later one, which is to be checkpointed.
        """


def read(
    session: Session[JobSpec],
    sender: str,
    kind: type[MaskedUpdate] | type[PlainUpdate],
    layout: SumLayout,
    round_: int | None = None,
) -> Iterator[tuple[int, np.ndarray, float]]:
    """Read the pieces of a vector: first position, residues, seconds.

    Args:
        round_: in which it was sent, this one where None.

    Raises:
        ProtocolError: a vector of another shape than agreed.
    """
    spans, number = layout.spans, 0
    for number, message in enumerate(session.recv_stream(sender, kind, round_), 1):
        start, stop = spans[min(number, len(spans)) - 1]
        if number > len(spans) or len(message.residues) != (stop - start) * layout.ring.dtype.itemsize:
            raise ProtocolError(f"{sender} sent a {kind.kind} of another shape than the model's")
        if not 0 <= message.seconds < math.inf:
            raise ProtocolError(f"{sender} says that its computation took {message.seconds} s")
        yield start, np.frombuffer(message.residues, layout.ring.dtype), message.seconds
    if number != len(spans):
        raise ProtocolError(f"{sender} sent a {kind.kind} of another shape than the model's")
