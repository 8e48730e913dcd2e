"""Secure aggregation at a party: its vector travels behind masks that cancel in the sum over all parties.

For one sum, with u and v parties, s_uv the secret that the pair's X25519 keys agree on, b_u a seed of u's own, PRG a
ChaCha20 stream modulo 2^k (keys and shares of many sums are exchanged at once, see parties/sums/channels.py):

    1. party -> coordinator  y_u = x_u + PRG(b_u) + sum over v > u of PRG(s_uv) - sum over v < u of PRG(s_uv)
    2. coordinator -> all    who answered, and who dropped out
    3. party -> coordinator  its Shamir shares of b_u of those who answered, of the mask key of those who dropped out

The coordinator opens the seeds from the shares of a majority and takes off the sum what did not cancel. Of one party
it gets shares of the seed or of the key, never of both: a party answers step 3 once for each sum.

Source: Bonawitz et al., "Practical secure aggregation for privacy-preserving machine learning", CCS 2017, figure 4,
without the consistency check against a coordinator that lies. What each role learns: docs/explanation/average.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fedbus.algorithms.sums.layout import SumLayout
from fedbus.algorithms.sums.messages import (
    Advertise,
    MaskedUpdate,
    MaskKeys,
    PeerKeys,
    PeerShares,
    RevealedShares,
    RevealRequest,
    SealedShares,
    SumOrder,
)
from fedbus.algorithms.sums.rules import WINDOW_SUMS, SumRules, mask_label
from fedbus.crypto import secure_masks, shares
from fedbus.errors import ProtocolError
from fedbus.job import JobSpec
from fedbus.messages.envelope import Message
from fedbus.session.session import Session
from parties.sums.channels import KeyWindow
from parties.sums.exchange import KeyedHiding
from parties.sums.hiding import Contributor, Pieces
from parties.sums.trust import Trust

_SHARE = shares.SHARE_BYTES
_SEED_BYTES = shares.SECRET_BYTES


class Masking(KeyedHiding):
    """A party's windows of keys, and its vectors behind masks; see `Hiding`.

    Args:
        state: of a checkpoint, {} before the first.
    """

    def __init__(
        self, session: Session[JobSpec], rules: SumRules, contributor: Contributor, trust: Trust, state: dict[str, Any]
    ) -> None:
        super().__init__(session, rules, contributor, trust, state)
        # Of the window: the last sum whose masks are used up, in which session round, and the last of which shares were
        # revealed.
        self._used: int = state.get("used", -1)
        self._used_in: int = state.get("used_in", -1)
        self._resumed = True
        self._revealed: int = state.get("revealed", -1)
        # The masks' keys of one sum, made before they are asked for, and its window, slot and members.
        self._ready: tuple[bytes, dict[str, bytes]] | None = None
        self._ready_for: tuple[int, int, set[str]] = (-1, -1, set())

    @property
    def state(self) -> dict[str, Any]:
        """Return the state as a map, for a checkpoint."""
        if self._window is None:
            return {}
        return {
            "window": self._window.to_map(),
            "used": self._used,
            "used_in": self._used_in,
            "revealed": self._revealed,
        }

    def advertise(self, order: Advertise) -> MaskKeys:
        """Make the keys of a window."""
        if not 0 < order.sums <= WINDOW_SUMS:
            raise ProtocolError(f"{self._session.coordinator} asks for the keys of {order.sums} sums")
        if self._window is not None and order.window <= self._window.number:
            raise ProtocolError(f"{self._session.coordinator} opens a window of keys anew, whose masks may be used up")
        self._window, self._used, self._revealed = KeyWindow(order.window, order.sums), -1, -1
        return self._channels.advertise(order.window, self._public_keys(order.window, order.sums))

    def deal(self, order: PeerKeys) -> tuple[SealedShares]:
        """Share this party's secrets among all who have keys.

        Shares are drawn anew at each call, so they have to be durable before any is sent, and are kept once made.
        """
        window = self._opened()
        if not window.dealt:
            self._channels.accept(window, order, self._public_keys(window.number, window.sums))
            threshold = self._rules.threshold
            if len(window.names) < threshold:
                raise ProtocolError(f"{len(window.names)} parties have keys, below the threshold of {threshold}")
            seeds = [seed for slot in range(window.sums) for seed in self._seeds(window.number, slot)]
            split = [shares.split(seed, len(window.names), threshold) for seed in seeds]
            dealt = [b"".join(parts) for parts in zip(*split, strict=True)]
            window.shares = {self._session.party: dealt[window.names.index(self._session.party)]}
            window.dealt = self._channels.seal(window, dealt)
        return (SealedShares(tuple(window.dealt)),)

    def keep(self, order: PeerShares) -> None:
        """Take the shares that others dealt; with those the window is open."""
        window = self._opened()
        opened = self._channels.open(window, order)
        for name, each in opened.items():
            if len(each) != 2 * window.sums * _SHARE:
                raise ProtocolError(f"{name} dealt shares of another number of sums than this window's")
        window.shares |= opened
        window.dealt = []

    def send(self, order: SumOrder, layout: SumLayout, vector: Pieces, seconds: float) -> None:
        """See `Hiding`."""
        masked = self.answer(order, vector, seconds)
        self._contributor.checkpoint(self._session.round - 1)
        self._session.send_stream(self._session.coordinator, masked, len(layout.spans))

    def answer(self, order: SumOrder, vector: Pieces, seconds: float) -> Iterator[MaskedUpdate]:
        """Hide a vector's pieces behind masks, which are used up at once: to be checkpointed before a piece is sent.

        Args:
            vector: masked in place.
            seconds: that it took.
        """
        window, session = self._opened(), self._session
        self.use_up(order)
        members = set(order.members)
        if not members <= set(window.shares) or session.party not in members or len(members) < self._rules.threshold:
            raise ProtocolError(f"{session.coordinator} asks for a sum over {sorted(members)}, who have no common keys")
        ready = self._ready if self._ready_for == (window.number, order.slot, members) else None
        own, pairs = ready or self._mask_keys(window, order.slot, members)
        masks = secure_masks.Masks(own, pairs, session.party)

        def masked() -> Iterator[MaskedUpdate]:
            for start, residues in vector:
                masks.apply(residues, start)
                yield MaskedUpdate(residues.tobytes(), seconds)

        return masked()

    def uncover(self, kind: type[Message]) -> None:
        """See `KeyedHiding`; without the keys there is nothing to tell, and the others are asked as well."""
        session, lead = self._session, self._session.coordinator
        if kind is not RevealRequest:
            raise self._refused(kind)
        request = session.recv(lead, RevealRequest)
        if self.has_keys(request):
            revealed = self.reveal(request)
            # Told once only, and told for certain: the request is not answered again.
            session.send(lead, revealed, ends=self._contributor.state)
            self.make_ready(request)

    def make_ready(self, last: RevealRequest) -> None:
        """Make the keys of the sum after this one, which most likely has the same members, while others are at work."""
        window, slot, members = self._opened(), last.slot + 1, set(last.members)
        if slot < window.sums:
            self._ready = self._mask_keys(window, slot, members)
            self._ready_for = (window.number, slot, members)

    def holds_keys(self, order: SumOrder) -> bool:
        """See `KeyedHiding`."""
        window = self._window
        return window is not None and order.window == window.number and set(order.members) <= set(window.shares)

    def is_opening(self, window: int) -> bool:
        """See `KeyedHiding`; this party dealt its shares and those of the others have not come."""
        return self._window is not None and self._window.number == window and bool(self._window.dealt)

    def pass_over(self, order: SumOrder) -> None:
        """See `Hiding`; its masks hide nothing any more."""
        if self.holds_keys(order):
            self.use_up(order)

    def use_up(self, order: SumOrder) -> None:
        """Make sure that the masks of an order hide one vector only: the difference of two would be in the clear."""
        window, lead = self._opened(), self._session.coordinator
        if order.window != window.number or not 0 <= order.slot < window.sums:
            raise ProtocolError(f"{lead} names keys of a window that is not open")
        # After a restart the same order may come again, and what was sent for it goes out as it was.
        again = self._resumed and (order.slot, self._session.round) == (self._used, self._used_in)
        if order.slot <= self._used and not again:
            raise ProtocolError(f"{lead} asks for a second vector behind the same masks")
        self._used, self._used_in, self._resumed = order.slot, self._session.round, False

    def reveal(self, order: RevealRequest) -> RevealedShares:
        """Return this party's shares: of the self masks of those who are in the sum, of the mask keys of the others.

        Once for each sum: with both kinds of one party its vector would be in the clear.
        """
        window, session = self._opened(), self._session
        survivors, members = order.survivors, order.members
        if order.window != window.number or not 0 <= order.slot < window.sums:
            raise ProtocolError(f"{session.coordinator} asks for shares of a window that is not open")
        if order.slot <= self._revealed:
            raise ProtocolError(f"{session.coordinator} asks for shares of a sum whose shares were revealed")
        self._revealed = order.slot
        # More than half of all are in a sum, so no two sets of survivors can be told to a majority each.
        if not set(survivors) <= set(members) <= set(window.shares) or len(set(survivors)) < self._rules.threshold:
            raise ProtocolError(f"{session.coordinator} asks for shares that would unmask too few parties")
        dropped = [party for party in members if party not in survivors]
        self_masks = tuple(self._share(party, 2 * order.slot) for party in survivors)
        return RevealedShares(self_masks, tuple(self._share(party, 2 * order.slot + 1) for party in dropped))

    def _mask_keys(self, window: KeyWindow, slot: int, members: set[str]) -> tuple[bytes, dict[str, bytes]]:
        """Return the key of this party's own mask of a sum, and of those that it shares with other members."""
        label = mask_label(self._session.job, window.number, slot)
        self_seed, key_seed = self._seeds(window.number, slot)
        private, _ = secure_masks.mask_key(key_seed)
        peers = members - {self._session.party}
        pairs = {peer: secure_masks.pair_secret(private, window.key(peer, slot), label) for peer in peers}
        return secure_masks.self_secret(self_seed, label), pairs

    def _share(self, party: str, number: int) -> bytes:
        return self._opened().shares[party][number * _SHARE : (number + 1) * _SHARE]

    def _seeds(self, window: int, slot: int) -> tuple[bytes, bytes]:
        """Return this party's seeds of a sum: of its self mask, and of its mask key."""
        secret = self._session.secret
        return secret(f"self/{window}/{slot}").read(_SEED_BYTES), secret(f"key/{window}/{slot}").read(_SEED_BYTES)

    def _public_keys(self, window: int, sums: int) -> bytes:
        return b"".join(secure_masks.mask_key(self._seeds(window, slot)[1])[1] for slot in range(sums))
