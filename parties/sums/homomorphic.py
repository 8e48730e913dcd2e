"""A party sums under Paillier's encryption: the parties share a key that the coordinator does not have.

    1. the first party of a window makes the key and seals its primes for the others, see parties/sums/channels.py
    2. party -> coordinator  [[x]], its vector packed into plaintexts
    3. coordinator -> one    [[sum of all x]]
    4. that one -> coord.    the sum

Any party that got hold of another's [[x]] could decrypt it: these go to the coordinator only. What each role learns:
docs/explanation/average.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fedbus import codec
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
    SumOrder,
)
from fedbus.algorithms.sums.rules import SumRules
from fedbus.chunks import chunk_ranges
from fedbus.crypto.engine import Engine
from fedbus.crypto.paillier import PrivateKey
from fedbus.crypto.tensor import CipherTensor
from fedbus.errors import CryptoError, ProtocolError
from fedbus.job import JobSpec
from fedbus.messages.envelope import Message
from fedbus.session.session import Session
from parties.sums.channels import KeyWindow
from parties.sums.exchange import KeyedHiding
from parties.sums.hiding import Contributor, Pieces
from parties.sums.trust import Trust


class Encryption(KeyedHiding):
    """A party's hold on the parties' key, and its vectors under it; see `Hiding`.

    Args:
        state: of a checkpoint, {} before the first.
    """

    def __init__(
        self,
        session: Session[JobSpec],
        rules: SumRules,
        contributor: Contributor,
        trust: Trust,
        engine: Engine,
        state: dict[str, Any],
    ) -> None:
        super().__init__(session, rules, contributor, trust, state)
        self._engine = engine
        self._primes: list[bytes] = state.get("primes", [])

    @property
    def state(self) -> dict[str, Any]:
        """Return the state as a map, for a checkpoint."""
        return {} if self._window is None else {"window": self._window.to_map(), "primes": self._primes}

    def advertise(self, order: Advertise) -> MaskKeys:
        """Make a channel key; there are no masks."""
        self._window = KeyWindow(order.window, 0)
        return self._channels.advertise(order.window, b"")

    def deal(self, order: PeerKeys) -> tuple[SealedShares, SumKey] | tuple[()]:
        """Where this party is the first of a window, seal the key for the others, made where there is none yet.

        A key is drawn at random, so it has to be durable before it is sent.
        """
        window = self._opened()
        self._channels.accept(window, order, b"")
        if window.names[0] != self._session.party:
            return ()
        if not self._primes:
            private = self._engine.generate_keypair(self._rules.key_bits)
            self._primes = [int(prime).to_bytes(prime.bit_length() // 8 + 1, "big") for prime in (private.p, private.q)]
        sealed = self._channels.seal(window, [codec.pack(self._primes)] * len(window.names))
        return SealedShares(tuple(sealed)), SumKey(self._key().public.to_bytes())

    def keep(self, order: PeerShares) -> None:
        """Take the key that the first of the window dealt."""
        window = self._opened()
        if list(order.names) != window.names[:1]:
            raise ProtocolError(f"{self._session.coordinator} passed on a key of another party than the first")
        for opened in self._channels.open(window, order).values():
            try:
                primes = codec.unpack_received(opened)
                PrivateKey.from_primes(*(int.from_bytes(prime, "big") for prime in primes))
            except (ValueError, TypeError, CryptoError) as error:
                raise ProtocolError(f"{window.names[0]} dealt what is no key") from error
            if self._primes and primes != self._primes:
                raise ProtocolError(f"{window.names[0]} dealt another key than the one in use")
            self._primes = primes
        bits = self._key().public.bits
        if bits != self._rules.key_bits:
            raise ProtocolError(f"{window.names[0]} dealt a key of {bits} bits, not of params.key_bits")

    def holds_keys(self, order: SumOrder) -> bool:
        """See `KeyedHiding`; one key serves all sums."""
        return bool(self._primes) and order.window >= 0

    def is_opening(self, window: int) -> bool:
        """See `KeyedHiding`; this party is to get the key in that window."""
        return self._window is not None and self._window.number == window

    def pass_over(self, order: SumOrder) -> None:
        """See `Hiding`; encryption uses nothing up."""

    def send(self, order: SumOrder, layout: SumLayout, vector: Pieces, seconds: float) -> None:  # noqa: ARG002  # see Hiding
        """See `Hiding`."""
        pieces = list(self.answer(layout, vector, seconds))
        self._session.send_stream(self._session.coordinator, pieces, len(pieces))
        self._contributor.checkpoint()

    def answer(self, layout: SumLayout, vector: Pieces, seconds: float) -> Iterator[EncryptedUpdate]:
        """Pack and encrypt a vector's pieces."""
        key, slots = self._key().public, layout.slots(self._rules.key_bits)
        whole = np.concatenate([residues for _, residues in vector])
        signed = whole.view(f"<i{layout.ring.dtype.itemsize}").tolist()
        packed = [pack for (pack,) in slots.pack([signed])]
        for start, stop in chunk_ranges(len(packed), key.width):
            yield EncryptedUpdate(self._engine.encrypt(key, packed[start:stop], 0), seconds)

    def uncover(self, kind: type[Message]) -> None:
        """See `KeyedHiding`."""
        session, lead = self._session, self._session.coordinator
        if kind is not EncryptedSum:
            raise self._refused(kind)
        pieces = session.recv_stream(lead, EncryptedSum)
        first = next(pieces)
        layout = self._contributor.sum_layout(first.task)
        session.send_stream(lead, self.open(first, layout, pieces), len(layout.spans))
        self._contributor.checkpoint()

    def open(self, order: EncryptedSum, layout: SumLayout, rest: Iterator[EncryptedSum]) -> Iterator[OpenedSum]:
        """Return a sum in the clear, in pieces.

        Raises:
            ProtocolError: not a sum over enough parties, or of another length.
        """
        private, rules = self._key(), self._rules
        slots = layout.slots(rules.key_bits)
        tensor = CipherTensor.join([order.tensor, *(message.tensor for message in rest)])
        if len(set(order.survivors) & set(rules.parties)) < rules.min_clients:
            raise ProtocolError(f"{self._session.coordinator} asks to open a sum over too few parties")
        agreed = layout.length, layout.ring.bits
        if len(tensor) != slots.packs(layout.length) or (order.numbers, order.bits) != agreed:
            raise ProtocolError(f"{self._session.coordinator} asks to open a sum of another length than agreed")
        self._engine.check(private.public, tensor)
        numbers = slots.unpack(self._engine.decrypt(private, tensor), layout.length)
        residues = np.array(numbers, dtype=np.int64).astype(layout.ring.dtype)
        for start, stop in layout.spans:
            yield OpenedSum(residues[start:stop].tobytes())

    def _key(self) -> PrivateKey:
        if not self._primes:
            raise ProtocolError(f"{self._session.coordinator} asks for arithmetic under a key that was never dealt")
        return PrivateKey.from_primes(*(int.from_bytes(prime, "big") for prime in self._primes))
