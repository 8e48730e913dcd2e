"""Nothing hides these vectors: the coordinator sees each of them."""

from __future__ import annotations

from typing import Any

from fedbus.algorithms.sums.layout import SumLayout
from fedbus.algorithms.sums.messages import PlainUpdate, SumOrder
from fedbus.errors import ProtocolError
from fedbus.job import JobSpec
from fedbus.messages.envelope import Message
from fedbus.session.session import Session
from parties.sums.hiding import Contributor, Pieces


class Plain:
    """A way of hiding that hides nothing: no keys are exchanged, and nothing has to be uncovered."""

    def __init__(self, session: Session[JobSpec], contributor: Contributor) -> None:
        self._session = session
        self._contributor = contributor
        self.state: dict[str, Any] = {}

    def follow(self, kind: type[Message]) -> None:
        """See `Hiding`; no order belongs here."""
        raise ProtocolError(f"{self._session.coordinator} sent a {kind.kind}, which aggregation 'plain' does not have")

    def has_keys(self, order: SumOrder) -> bool:  # noqa: ARG002  # see Hiding
        """See `Hiding`; it takes no keys."""
        return True

    def pass_over(self, order: SumOrder) -> None:
        """See `Hiding`; nothing is used up."""

    def send(self, order: SumOrder, layout: SumLayout, vector: Pieces, seconds: float) -> None:  # noqa: ARG002  # see Hiding
        """See `Hiding`."""
        pieces = (PlainUpdate(residues.tobytes(), seconds) for _, residues in vector)
        self._session.send_stream(self._session.coordinator, pieces, len(layout.spans))
        self._contributor.checkpoint()
