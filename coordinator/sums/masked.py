"""The coordinator sums vectors that arrive behind masks, which cancel in the sum.

The protocol is in parties/sums/masked.py. The coordinator relays keys and sealed shares, adds what it receives, and
takes off the sum what is left: the self masks of those whose vectors are in it, and the pairwise masks between them and
those who dropped out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from coordinator.sums.base import Sum, read
from coordinator.sums.cohort import Cohort
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
)
from fedbus.algorithms.sums.rules import WINDOW_SUMS, mask_label
from fedbus.crypto import secure_masks, shares
from fedbus.crypto.sealing import KEY_BYTES
from fedbus.errors import CryptoError, ProtocolError
from fedbus.job import JobSpec
from fedbus.messages.envelope import Message
from fedbus.session.session import Session


class MaskedSums:
    """Windows of keys, and sums behind masks.

    Args:
        state: of a checkpoint, {} before the first.
        sums_left: how many sums the job may still need at most.
    """

    def __init__(
        self, session: Session[JobSpec], cohort: Cohort, state: dict[str, Any], sums_left: Callable[[], int]
    ) -> None:
        self._session = session
        self._cohort = cohort
        self._sums_left = sums_left
        self._window: int = state.get("window", -1)
        self._used: int = state.get("used", 0)
        self._sums: int = state.get("sums", 0)
        # All who had a key when secrets were dealt, and of them those who dealt.
        self._holders: list[str] = state.get("holders", [])
        self._names: list[str] = state.get("names", [])
        self._keys: dict[str, bytes] = state.get("keys", {})

    @property
    def state(self) -> dict[str, Any]:
        """Return the state as a map, for a checkpoint."""
        return {
            "window": self._window, "used": self._used, "sums": self._sums,
            "holders": self._holders, "names": self._names, "keys": self._keys,
        }  # fmt: skip

    @property
    def eligible(self) -> Sequence[str]:
        """Return those who have keys of the window."""
        return self._names

    def prepare(self) -> bool:
        """Open a window of keys where the last one is used up, or a party is there that has no part in it."""
        session = self._session
        # The first is dropped once all have dealt, and then the second is there.
        begun, told = session.decided(Advertise), session.decided(PeerKeys, session.round + 1)
        if begun is None and told is None and self._fits(self._cohort.wait_for(self._least)):
            return False
        order = begun or self._next_window(told)
        given = self._advertised(order, told)
        holders = tuple(given)
        session.at(session.round + 1)
        sealed = self._dealt(given)
        names = tuple(sealed)
        session.at(session.round + 1)
        for party in names:
            place = holders.index(party)
            session.send(party, PeerShares(names, tuple(each[place] for each in sealed.values())))
        self._window, self._used, self._sums = order.window, 0, order.sums
        self._holders, self._names = list(holders), list(names)
        self._keys = {party: given[party].keys for party in names}
        return True

    @property
    def _least(self) -> int:
        """Return how many parties a window needs to be of use."""
        return max(self._cohort.rules.threshold, self._cohort.rules.min_clients)

    def _next_window(self, told: PeerKeys | None) -> Advertise:
        """Return the order that opens the next window, as it was given where parties were told keys already."""
        sums = len(told.keys[0]) // KEY_BYTES if told else min(WINDOW_SUMS, max(1, self._sums_left()))
        return Advertise(self._window + 1, sums)

    def _advertised(self, order: Advertise, told: PeerKeys | None) -> dict[str, MaskKeys]:
        """Return the public keys of those who take part in a window.

        Args:
            told: what they were told of each other before a restart.
        """
        asked = told.names if told else self._cohort.wait_for(self._least)
        if told is None:
            self._session.send(asked, order)
        given = {party: self._session.recv(party, MaskKeys) for party in self._gather(MaskKeys, asked, PeerKeys)}
        for party, message in given.items():
            if len(message.channel) != KEY_BYTES or len(message.keys) != order.sums * KEY_BYTES:
                raise ProtocolError(f"{party} sent mask keys of another number than asked for")
        return given

    def _dealt(self, given: Mapping[str, MaskKeys]) -> dict[str, tuple[bytes, ...]]:
        """Return what each dealer sealed for every holder of keys, in the holders' order; all are told all keys."""
        holders, messages = tuple(given), given.values()
        channels, keys = tuple(each.channel for each in messages), tuple(each.keys for each in messages)
        self._session.send(holders, PeerKeys(holders, channels, keys, tuple(each.signature for each in messages)))
        names = self._gather(SealedShares, holders, PeerShares)
        sealed = {party: self._session.recv(party, SealedShares).sealed for party in names}
        for party, each in sealed.items():
            if len(each) != len(holders):
                raise ProtocolError(f"{party} dealt shares to {len(each)} parties, where there are {len(holders)}")
        return sealed

    def _fits(self, present: Sequence[str]) -> bool:
        return self._used < self._sums and set(present) <= set(self._names)

    def _gather(
        self, kind: type[Message], asked: Sequence[str], next_order: type[PeerKeys] | type[PeerShares]
    ) -> tuple[str, ...]:
        """Return who has answered; the same as before a restart where others were told already."""
        decided = self._session.decided(next_order, self._session.round + 1)
        there = self._cohort.gather(kind, decided.names if decided else asked, self._least)
        self._cohort.excuse(asked)
        return decided.names if decided else there

    def assign(self) -> tuple[int, int]:
        """Return the window and the slot of the next sum."""
        slot = self._used
        self._used += 1
        return self._window, slot

    def sum(self, layout: SumLayout, members: Sequence[str]) -> Sum:
        """See `Sums`; then, a session round later, have the masks revealed that did not cancel.

        Raises:
            JobFailed: fewer than the threshold are left.
            ProtocolError: a party sent what the protocol does not allow.
        """
        session, cohort, slot = self._session, self._cohort, self._used - 1
        decided = session.decided(RevealRequest, session.round + 1)
        survivors = cohort.survivors(MaskedUpdate, members, decided)
        # Whoever has no keys of this window is in no later sum of it, so that another one is opened.
        keyless = cohort.excuse(members)
        self._names = [party for party in self._names if party not in keyless]
        session.at(session.round + 1)
        # Those who were late with their vector may be in time with their shares.
        there = {*cohort.present(), *members}
        holders = [party for party in self._names if party in there and party not in session.attendance.failures]
        request = decided or RevealRequest(self._window, slot, tuple(members), survivors)
        with session.phase("reveal"):
            self._session.send(holders, request)
            # Added while the parties answer.
            total, seconds = self._add(layout, survivors, session.round - 1)
            revealing = cohort.gather(RevealedShares, holders, cohort.rules.threshold, all_of=False)
        with session.phase("unmask"):
            self._unmask(total, slot, tuple(members), survivors, revealing)
        return Sum(layout, total, survivors, seconds)

    def _add(self, layout: SumLayout, survivors: Sequence[str], round_: int) -> tuple[np.ndarray, dict[str, float]]:
        """Add what these sent in a round, still behind masks. Return the sum, and how long each computed."""
        total, seconds = np.zeros(layout.length, layout.ring.dtype), {}
        for party in survivors:
            for start, residues, took in read(self._session, party, MaskedUpdate, layout, round_):
                layout.ring.add(total[start : start + len(residues)], residues)
                seconds[party] = took
        return total, seconds

    def _unmask(
        self, total: np.ndarray, slot: int, members: Sequence[str], survivors: Sequence[str], revealing: Sequence[str]
    ) -> None:
        session, label = self._session, mask_label(self._session.job, self._window, slot)
        dropped = [party for party in members if party not in survivors]
        revealed = {}
        for party in revealing:
            message = session.recv(party, RevealedShares)
            if (len(message.self_masks), len(message.mask_keys)) != (len(survivors), len(dropped)):
                raise ProtocolError(f"{party} revealed another number of shares than asked for")
            revealed[self._holders.index(party)] = [*message.self_masks, *message.mask_keys]
        try:
            secrets = shares.open_all(revealed, self._cohort.rules.threshold)
        except CryptoError as error:
            raise ProtocolError(f"shares of {', '.join(revealing)} do not open a mask: {error}") from error
        for seed in secrets[: len(survivors)]:
            secure_masks.remove_self(total, secure_masks.self_secret(seed, label), 0)
        for party, seed in zip(dropped, secrets[len(survivors) :], strict=True):
            private, public = secure_masks.mask_key(seed)
            if public != self._key(party, slot):
                raise ProtocolError(f"the shares of {party}'s mask key open another key than it advertised")
            for survivor in survivors:
                key = secure_masks.pair_secret(private, self._key(survivor, slot), label)
                secure_masks.remove_pair(total, key, 0, dropped=party, survivor=survivor)

    def _key(self, party: str, slot: int) -> bytes:
        return self._keys[party][slot * KEY_BYTES : (slot + 1) * KEY_BYTES]
