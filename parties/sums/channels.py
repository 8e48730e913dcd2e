"""One party tells another past the coordinator: keys signed by their identities, and secrets sealed under them.

In a session round each:

    1. coordinator -> all    make keys for a window of sums
       party -> coordinator  public channel key and mask keys, signed
    2. coordinator -> all    everybody's public keys
       party -> coordinator  for each other party, what only it can open
    3. coordinator -> all    what was sealed for each

Source: Bonawitz et al., "Practical secure aggregation for privacy-preserving machine learning", CCS 2017, figure 4,
rounds 0 and 1, with keys for many sums at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fedbus.algorithms.sums.messages import MaskKeys, PeerKeys, PeerShares
from fedbus.algorithms.sums.rules import channel_label
from fedbus.crypto import sealing
from fedbus.errors import CryptoError, ProtocolError
from fedbus.job import JobSpec
from fedbus.session.session import Session
from parties.sums.trust import Trust


@dataclass(slots=True)
class KeyWindow:
    """The keys of a window, as one party has them.

    Attributes:
        sums: that it serves.
        names: in the order of PeerKeys; a party's place is what its shares are made for.
        channels, keys: public ones of each of them.
        dealt: what this party sealed for each, until the window is open.
        shares: what each party of the window sealed for this one, opened.
    """

    number: int
    sums: int
    names: list[str] = field(default_factory=list)
    channels: list[bytes] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    dealt: list[bytes] = field(default_factory=list)
    shares: dict[str, bytes] = field(default_factory=dict)

    def to_map(self) -> dict[str, Any]:
        """Return the window as a map, for a checkpoint."""
        return {name: getattr(self, name) for name in self.__slots__}

    def key(self, party: str, slot: int) -> bytes:
        """Return a party's public mask key of a sum."""
        start, stop = (number * sealing.KEY_BYTES for number in (slot, slot + 1))
        return self.keys[self.names.index(party)][start:stop]


class Channels:
    """A party's side of the exchange of keys."""

    def __init__(self, session: Session[JobSpec], trust: Trust) -> None:
        self._session = session
        self._trust = trust

    def advertise(self, window: int, keys: bytes) -> MaskKeys:
        """Return this party's public keys, signed."""
        _, channel = self._channel(window)
        return MaskKeys(channel, keys, self._trust.sign(self._session.job, window, channel, keys))

    def accept(self, window: KeyWindow, order: PeerKeys, own_keys: bytes) -> None:
        """Enter everybody's keys.

        Raises:
            ProtocolError: a party that is not in the job or not on the roster, keys that are not its own, or not this
                party's own as it sent them.
        """
        session, names = self._session, list(order.names)
        if len(set(names)) != len(names) or not set(names) <= set(session.spec.parties) or session.party not in names:
            raise ProtocolError(f"{session.coordinator} named other parties than those of the job")
        if {len(part) for part in (order.channels, order.keys, order.signatures)} != {len(names)}:
            raise ProtocolError(f"{session.coordinator} passed on keys of another number of parties than it named")
        for name, channel, keys, signature in zip(names, order.channels, order.keys, order.signatures, strict=True):
            if len(keys) != len(own_keys):
                raise ProtocolError(f"{name} has mask keys of another number than this party")
            self._trust.verify(name, signature, session.job, window.number, channel, keys)
        place = names.index(session.party)
        _, channel = self._channel(window.number)
        if (order.channels[place], order.keys[place]) != (channel, own_keys):
            raise ProtocolError(f"{session.coordinator} passed on other keys of {session.party} than it sent")
        window.names, window.channels, window.keys = names, list(order.channels), list(order.keys)

    def seal(self, window: KeyWindow, secrets: Sequence[bytes]) -> list[bytes]:
        """Seal what is for each party of a window, in its order; nothing for this party, or where it is empty."""
        sealed = []
        for name, secret in zip(window.names, secrets, strict=True):
            empty = name == self._session.party or not secret
            sealed.append(b"" if empty else sealing.seal(self._agreed(window, name), secret, self._label(window, name)))
        return sealed

    def open(self, window: KeyWindow, order: PeerShares) -> dict[str, bytes]:
        """Open what the parties of PeerShares sealed for this one, by their names; of itself there is nothing.

        Raises:
            ProtocolError: something was sealed for another party, window or job, or changed on its way.
        """
        names, session = list(order.names), self._session
        if not set(names) <= set(window.names) or len(set(names)) != len(names) or len(order.sealed) != len(names):
            raise ProtocolError(f"{session.coordinator} passed on secrets of others than those whose keys it named")
        opened = {}
        for name, sealed in zip(names, order.sealed, strict=True):
            if name == session.party:
                continue
            label = channel_label(session.job, window.number, name, session.party)
            try:
                opened[name] = sealing.open_sealed(self._agreed(window, name), sealed, label)
            except CryptoError as error:
                raise ProtocolError(f"what came as a secret of {name} for {session.party} is not: {error}") from error
        return opened

    def _channel(self, window: int) -> tuple[bytes, bytes]:
        return sealing.key_pair(self._session.secret(f"channel/{window}").read(sealing.SEED_BYTES))

    def _agreed(self, window: KeyWindow, peer: str) -> bytes:
        private, _ = self._channel(window.number)
        return sealing.agree(private, window.channels[window.names.index(peer)])

    def _label(self, window: KeyWindow, recipient: str) -> bytes:
        return channel_label(self._session.job, window.number, self._session.party, recipient)
