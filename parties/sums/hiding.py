"""A party's vectors travel to the coordinator hidden in one of three ways: by masks, by encryption, or not at all.

An algorithm asks its Hiding only, which parties/sums/choice.py makes as the job says; see coordinator/sums/base.py for
the other side.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from fedbus.algorithms.sums.layout import SumLayout
from fedbus.algorithms.sums.messages import SumOrder
from fedbus.messages.envelope import Message

# A vector's residues with their first positions, as its layout cuts them.
Pieces = Iterator[tuple[int, np.ndarray]]


class Contributor(Protocol):
    """A party's role of the algorithm whose vectors are summed; its checkpoints hold the state of its hiding too."""

    @property
    def state(self) -> dict[str, Any]:
        """Return all that the role and its hiding have to know after a restart, for a checkpoint."""
        ...

    def checkpoint(self, round_: int | None = None) -> None:
        """Make the end of a session round (this one where None) durable, with the next answer or soon."""

    def sum_layout(self, task: str) -> SumLayout:
        """Return the layout of a task's vectors; raise ProtocolError where no vectors of that task are summed."""
        ...


class Hiding(Protocol):
    """One way of hiding vectors; see the module."""

    @property
    def state(self) -> dict[str, Any]:
        """Return the state as a map, for a checkpoint; a contributor keeps it among its own keys."""
        ...

    def follow(self, kind: type[Message]) -> None:
        """Carry out the order of this session round, one of fedbus.algorithms.sums.messages.ORDERS.

        Raises:
            ProtocolError: this way of hiding has no such order, or the coordinator asks for what would uncover more
                than a sum.
        """

    def has_keys(self, order: SumOrder) -> bool:
        """Return whether this party has the keys that an order names.

        A party may have missed the exchange of keys. Where their last message is still on its way, it is waited for.
        """
        ...

    def pass_over(self, order: SumOrder) -> None:
        """Leave an order for a vector unanswered; it may have been answered before a restart."""

    def send(self, order: SumOrder, layout: SumLayout, vector: Pieces, seconds: float) -> None:
        """Send a vector so that the coordinator can use it for this sum only, and end the session round.

        Args:
            vector: hidden in place.
            seconds: that it took to compute.
        """
