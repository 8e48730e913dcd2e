"""Aggregation under Paillier's encryption: the parties hold the key, the coordinator adds ciphertexts.

One of the parties makes the key and seals it for the others. Vectors are packed, many entries to a ciphertext; one of
those whose vectors are in the sum opens it and returns it to the coordinator. See parties/sums/homomorphic.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from coordinator.sums.base import Sum
from coordinator.sums.cohort import Cohort
from fedbus.algorithms.fedavg.messages import (
    Advertise,
    Assignment,
    EncryptedSum,
    EncryptedUpdate,
    MaskKeys,
    OpenedSum,
    PeerKeys,
    PeerShares,
    SealedShares,
    SumKey,
)
from fedbus.algorithms.fedavg.sums import Plan, packs
from fedbus.chunks import chunk_ranges
from fedbus.crypto.engine import Engine
from fedbus.crypto.paillier import PublicKey
from fedbus.crypto.tensor import CipherTensor
from fedbus.errors import JobFailed, ProtocolError
from fedbus.session.session import Session


class EncryptedSums:
    """The parties' key, and sums under it.

    Args:
        state: of a checkpoint, {} before the first.
    """

    def __init__(self, session: Session, cohort: Cohort, engine: Engine, state: dict[str, Any]) -> None:
        self._session = session
        self._cohort = cohort
        self._engine = engine
        self._window: int = state.get("window", -1)
        self._key: bytes = state.get("key", b"")
        self._names: list[str] = state.get("names", [])

    @property
    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"window": self._window, "key": self._key, "names": self._names}

    @property
    def eligible(self) -> Sequence[str]:
        """Those who hold the key."""
        return self._names

    def prepare(self) -> bool:
        """Have the key made and dealt out, and dealt out again where a party is there that does not have it."""
        session, cohort = self._session, self._cohort
        if session.decided(Assignment) is not None:
            return False
        # The first is dropped once all have dealt, and then the second is there.
        begun, told = session.decided(Advertise), session.decided(PeerKeys, session.round + 1)
        present = cohort.wait_for(cohort.spec.min_clients)
        if begun is None and told is None and self._key and set(present) <= set(self._names):
            return False
        asked = told.names if told else present
        order = begun or Advertise(self._window + 1, 0)
        if told is None:
            session.send(asked, order)
        there = cohort.gather(MaskKeys, asked, cohort.spec.min_clients)
        cohort.excuse(asked)
        # Whoever has the key deals it; the first of them all makes it.
        names = told.names if told else tuple(sorted(there, key=lambda party: party not in self._names))
        given = {party: session.recv(party, MaskKeys) for party in names}
        channels, signatures = ([getattr(given[p], name) for p in names] for name in ("channel", "signature"))
        session.at(session.round + 1)
        session.send(names, PeerKeys(names, tuple(channels), (b"",) * len(names), tuple(signatures)))
        dealer = names[0]
        if not cohort.gather(SealedShares, [dealer], 0):
            # Another one is to deal, in another window.
            self._window = order.window
            return True
        sealed = session.recv(dealer, SealedShares).sealed
        key = session.recv(dealer, SumKey).key
        if len(sealed) != len(names):
            raise ProtocolError(f"{dealer} sealed the key for {len(sealed)} parties, where there are {len(names)}")
        if PublicKey.from_bytes(key).bits != cohort.spec.params.key_bits or (self._key and key != self._key):
            raise ProtocolError(f"{dealer} deals another key than agreed")
        session.at(session.round + 1)
        for party, each in zip(names, sealed, strict=True):
            session.send(party, PeerShares((dealer,), (each,)))
        self._window, self._key, self._names = order.window, key, list(names)
        return True

    def assign(self) -> tuple[int, int]:
        """The one key serves all sums."""
        return self._window, 0

    def sum(self, plan: Plan, members: Sequence[str]) -> Sum:
        """See `Sums`; then, a session round later, have one of the parties open the sum."""
        session, cohort, key = self._session, self._cohort, PublicKey.from_bytes(self._key)
        told = session.decided(EncryptedSum, session.round + 1)
        survivors = cohort.survivors(EncryptedUpdate, members, told)
        keyless = cohort.excuse(members)
        self._names = [party for party in self._names if party not in keyless]
        count = packs(plan, cohort.spec)
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
        return Sum(plan, self._open(total, plan, survivors), survivors, seconds)

    def _open(self, total: CipherTensor, plan: Plan, survivors: Sequence[str]) -> np.ndarray:
        """Have the first of these who answers open a sum."""
        session, cohort = self._session, self._cohort
        ranges = chunk_ranges(len(total), total.width)
        for opener in survivors:
            shape = plan.length, plan.ring.bits
            parts = (EncryptedSum(total.part(*span), *shape, tuple(survivors)) for span in ranges)
            session.send_stream(opener, parts, len(ranges))
            if not cohort.gather(OpenedSum, [opener], 0):
                continue
            opened = b"".join(message.residues for message in session.recv_stream(opener, OpenedSum))
            if len(opened) != plan.length * plan.ring.dtype.itemsize:
                raise ProtocolError(f"{opener} opened a sum of another length than it was given")
            return np.frombuffer(opened, plan.ring.dtype)
        raise JobFailed(f"none of {', '.join(survivors)} opened the sum of their vectors")
