"""Hiding by masks and by encryption have this in common: an exchange of keys, in three session rounds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import structlog

from fedbus.algorithms.sums.layout import SumLayout
from fedbus.algorithms.sums.messages import Advertise, MaskKeys, PeerKeys, PeerShares, SumOrder
from fedbus.algorithms.sums.rules import SumRules
from fedbus.errors import PeerSilent, ProtocolError
from fedbus.job import JobSpec
from fedbus.messages.envelope import Message
from fedbus.session.session import Session
from parties.sums.channels import Channels, KeyWindow
from parties.sums.hiding import Contributor, Pieces
from parties.sums.trust import Trust

log = structlog.get_logger()


class KeyedHiding(ABC):
    """A Hiding that takes keys which the parties exchange; the messages are in parties/sums/channels.py.

    Args:
        state: of a checkpoint, {} before the first.
    """

    def __init__(
        self, session: Session[JobSpec], rules: SumRules, contributor: Contributor, trust: Trust, state: dict[str, Any]
    ) -> None:
        self._session = session
        self._rules = rules
        self._contributor = contributor
        self._channels = Channels(session, trust)
        self._window = KeyWindow(**state["window"]) if "window" in state else None
        # The session round in which the exchange's last message comes, while it has not.
        self._due: int | None = None

    @property
    @abstractmethod
    def state(self) -> dict[str, Any]:
        """See `Hiding`."""

    @abstractmethod
    def advertise(self, order: Advertise) -> MaskKeys:
        """Open a window of keys, and make this party's public ones."""

    @abstractmethod
    def deal(self, order: PeerKeys) -> tuple[Message, ...]:
        """Return what this party deals to those whose keys these are; it is made durable before it is sent."""

    @abstractmethod
    def keep(self, order: PeerShares) -> None:
        """Take what others dealt to this party; with that the window is open."""

    @abstractmethod
    def holds_keys(self, order: SumOrder) -> bool:
        """Return whether this party has the keys that an order names: it may have missed their exchange."""

    @abstractmethod
    def is_opening(self, window: int) -> bool:
        """Return whether this party takes part in a window's exchange of keys that has not ended."""

    @abstractmethod
    def uncover(self, kind: type[Message]) -> None:
        """Do this party's part of uncovering a sum; raise ProtocolError where the kind of order is none for that."""

    @abstractmethod
    def send(self, order: SumOrder, layout: SumLayout, vector: Pieces, seconds: float) -> None:
        """See `Hiding`."""

    @abstractmethod
    def pass_over(self, order: SumOrder) -> None:
        """See `Hiding`."""

    def follow(self, kind: type[Message]) -> None:
        """See `Hiding`."""
        session, lead, contributor = self._session, self._session.coordinator, self._contributor
        if kind is Advertise:
            session.send(lead, self.advertise(session.recv(lead, Advertise)))
        elif kind is PeerKeys:
            dealt = self.deal(session.recv(lead, PeerKeys))
            self._due = session.round + 1
            contributor.checkpoint(session.round - 1)
            for message in dealt:
                session.send(lead, message)
        elif kind is PeerShares:
            self.keep(session.recv(lead, PeerShares))
            self._due = None
            contributor.checkpoint()
        else:
            self.uncover(kind)

    def has_keys(self, order: SumOrder) -> bool:
        """See `Hiding`.

        The last message of an exchange is not answered, so an order can overtake it. It is waited for, not so long that
        the coordinator goes on without this party.
        """
        session, due = self._session, self._due
        if self.holds_keys(order) or due is None or not self.is_opening(order.window):
            return self.holds_keys(order)
        self._due = None
        try:
            with session.patience(self._rules.deadline / 2):
                (last,) = session.recv_stream(session.coordinator, PeerShares, due)
        except PeerSilent as error:
            log.warning("the last message of an exchange of keys is missing", job=session.job, reason=str(error))
            return False
        self.keep(last)
        return self.holds_keys(order)

    def _opened(self) -> KeyWindow:
        if self._window is None:
            raise ProtocolError(f"{self._session.coordinator} speaks of a window of keys that was never opened")
        return self._window

    def _refused(self, kind: type[Message]) -> ProtocolError:
        """Return the error of an order that this aggregation does not have."""
        lead, aggregation = self._session.coordinator, self._rules.aggregation
        return ProtocolError(f"{lead} sent a {kind.kind}, which aggregation '{aggregation}' does not have")
