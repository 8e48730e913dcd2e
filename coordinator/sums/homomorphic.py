"""The coordinator sums under Paillier's encryption: it adds ciphertexts, and the parties hold the key.

One of the parties makes the key and seals it for the others. Vectors are packed, many entries to a ciphertext; one of
those whose vectors are in the sum opens it and returns it to the coordinator. See parties/sums/homomorphic.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from coordinator.sums.base import Sum
from coordinator.sums.cohort import Cohort
from fedbus.algorithms.sums.layout import SumLayout
from fedbus.algorithms.sums.messages import (
    Advertise,
    EncryptedSum,
    EncryptedUpdate,
    MaskKeys,
    OpenedSum,
    PeerKeys,
    PeerShares,
    SealedShares,
    SumKey,
)
from fedbus.chunks import chunk_ranges
from fedbus.crypto.engine import Engine
from fedbus.crypto.paillier import PublicKey
from fedbus.crypto.tensor import CipherTensor
from fedbus.errors import JobFailed, ProtocolError
from fedbus.job import JobSpec
from fedbus.session.session import Session


class EncryptedSums:
    """The parties' key, and sums under it.

    Args:
        state: of a checkpoint, {} before the first.
    """

    def __init__(self, session: Session[JobSpec], cohort: Cohort, engine: Engine, state: dict[str, Any]) -> None:
        self._session = session
        self._cohort = cohort
        self._engine = engine
        self._window: int = state.get("window", -1)
        self._key: bytes = state.get("key", b"")
        self._names: list[str] = state.get("names", [])

    @property
    def state(self) -> dict[str, Any]:
        """Return the state as a map, for a checkpoint."""
        return {"window": self._window, "key": self._key, "names": self._names}

    @property
    def eligible(self) -> Sequence[str]:
        """Return those who hold the key."""
        return self._names

    def prepare(self) -> bool:
        """Have the key made and dealt out, and dealt out again where a party is there that does not have it."""
        session, cohort = self._session, self._cohort
        # The first is dropped once all have dealt, and then the second is there.
        begun, told = session.decided(Advertise), session.decided(PeerKeys, session.round + 1)
        present = cohort.wait_for(cohort.rules.min_clients)
        if begun is None and told is None and self._key and set(present) <= set(self._names):
            return False
        order = begun or Advertise(self._window + 1, 0)
        given = self._advertised(order, present, told)
        session.at(session.round + 1)
        dealt = self._dealt(given)
        if dealt is None:
            # Another one is to deal, in another window.
            self._window = order.window
            return True
        key, sealed = dealt
        names = tuple(given)
        session.at(session.round + 1)
        for party, each in zip(names, sealed, strict=True):
            session.send(party, PeerShares(names[:1], (each,)))
        self._window, self._key, self._names = order.window, key, list(names)
        return True

    def _advertised(self, order: Advertise, present: Sequence[str], told: PeerKeys | None) -> dict[str, MaskKeys]:
        """Return the channel keys of those who take part in the exchange, the dealer's first.

        Args:
            told: what they were told of each other before a restart.
        """
        session, cohort = self._session, self._cohort
        asked = told.names if told else present
        if told is None:
            session.send(asked, order)
        there = cohort.gather(MaskKeys, asked, cohort.rules.min_clients)
        cohort.excuse(asked)
        # Whoever has the key deals it; the first of them all makes it.
        names = told.names if told else tuple(sorted(there, key=lambda party: party not in self._names))
        return {party: session.recv(party, MaskKeys) for party in names}

    def _dealt(self, given: Mapping[str, MaskKeys]) -> tuple[bytes, tuple[bytes, ...]] | None:
        """Return the public key, and what the first of these sealed for each of them; None where it deals nothing."""
        session, cohort, names = self._session, self._cohort, tuple(given)
        channels = tuple(each.channel for each in given.values())
        signatures = tuple(each.signature for each in given.values())
        session.send(names, PeerKeys(names, channels, (b"",) * len(names), signatures))
        dealer = names[0]
        if not cohort.gather(SealedShares, [dealer], 0):
            return None
        sealed = session.recv(dealer, SealedShares).sealed
        key = session.recv(dealer, SumKey).key
        if len(sealed) != len(names):
            raise ProtocolError(f"{dealer} sealed the key for {len(sealed)} parties, where there are {len(names)}")
        if PublicKey.from_bytes(key).bits != cohort.rules.key_bits or (self._key and key != self._key):
            raise ProtocolError(f"{dealer} deals another key than agreed")
        return key, sealed

    def assign(self) -> tuple[int, int]:
        """See `Sums`; the one key serves all sums."""
        return self._window, 0

    def sum(self, layout: SumLayout, members: Sequence[str]) -> Sum:
        """See `Sums`; then, a session round later, have one of the parties open the sum."""
        session, cohort, key = self._session, self._cohort, PublicKey.from_bytes(self._key)
        told = session.decided(EncryptedSum, session.round + 1)
        survivors = cohort.survivors(EncryptedUpdate, members, told)
        keyless = cohort.excuse(members)
        self._names = [party for party in self._names if party not in keyless]
        count = layout.ciphertexts(cohort.rules.key_bits)
        total: CipherTensor | None = None
        seconds = {}
        for party in survivors:
            parts = []
            for message in session.recv_stream(party, EncryptedUpdate):
                parts.append(message.tensor)
                seconds[party] = message.seconds
                if sum(map(len, parts)) > count:
                    break
            vector = CipherTensor.join(parts)
            if len(vector) != count or vector.scale:
                raise ProtocolError(f"{party} sent an {EncryptedUpdate.kind} of another shape than the model's")
            self._engine.check(key, vector)
            total = vector if total is None else key.add(total, vector)
        assert total is not None  # noqa: S101  # gather returns one at least
        session.at(session.round + 1)
        return Sum(layout, self._open(total, layout, survivors), survivors, seconds)

    def _open(self, total: CipherTensor, layout: SumLayout, survivors: Sequence[str]) -> np.ndarray:
        """Have the first of these who answers open a sum."""
        session, cohort = self._session, self._cohort
        ranges = chunk_ranges(len(total), total.width)
        for opener in survivors:
            shape = layout.task, layout.length, layout.ring.bits
            parts = (EncryptedSum(total.part(*span), *shape, tuple(survivors)) for span in ranges)
            session.send_stream(opener, parts, len(ranges))
            if not cohort.gather(OpenedSum, [opener], 0):
                continue
            opened = b"".join(message.residues for message in session.recv_stream(opener, OpenedSum))
            if len(opened) != layout.length * layout.ring.dtype.itemsize:
                raise ProtocolError(f"{opener} opened a sum of another length than it was given")
            return np.frombuffer(opened, layout.ring.dtype)
        raise JobFailed(f"none of {', '.join(survivors)} opened the sum of their vectors")
