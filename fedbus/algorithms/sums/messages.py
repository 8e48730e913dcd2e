"""What travels when parties' vectors are summed; see parties/sums and coordinator/sums.

The coordinator leads: what it sends are orders, one a session round, and parties answer in the round of the order. The
order that asks for the vectors themselves belongs to the algorithm; a SumOrder is what it says of the sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from fedbus.messages.envelope import COORDINATOR, PARTIES, Message, TensorMessage
from fedbus.messages.fields import Count, Names, Parts, Seconds, Text, Word


class SumOrder(Protocol):
    """What an order that concerns a sum says of it.

    Attributes:
        window, slot: which of the keys hide the vectors; -1 and 0 where nothing hides them.
        members: who were asked for a vector.
    """

    @property
    def window(self) -> int: ...

    @property
    def slot(self) -> int: ...

    @property
    def members(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Advertise(Message):
    """Order: make keys for so many sums."""

    kind: ClassVar[str] = "advertise"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR,)
    window: Count
    sums: Count


@dataclass(frozen=True, slots=True)
class MaskKeys(Message):
    """Party to coordinator: its public X25519 keys of a window.

    Attributes:
        channel: 32 bytes, for what other parties send it past the coordinator.
        keys: 32 bytes for each sum of the window, for pairwise masks.
        signature: of the party's identity over job, window and keys.
    """

    kind: ClassVar[str] = "mask_keys"
    senders: ClassVar[tuple[str, ...]] = PARTIES
    channel: bytes
    keys: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class PeerKeys(Message):
    """Order: deal secrets to these parties, whose keys these are; see MaskKeys."""

    kind: ClassVar[str] = "peer_keys"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR,)
    names: Names
    channels: Parts
    keys: Parts
    signatures: Parts


@dataclass(frozen=True, slots=True)
class SealedShares(Message):
    """Party to coordinator: for each party of PeerKeys what only it can open; nothing for the sender itself."""

    kind: ClassVar[str] = "sealed_shares"
    senders: ClassVar[tuple[str, ...]] = PARTIES
    sealed: Parts


@dataclass(frozen=True, slots=True)
class PeerShares(Message):
    """Order: keep what these parties sealed for the recipient; they alone belong to the window."""

    kind: ClassVar[str] = "peer_shares"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR,)
    names: Names
    sealed: Parts


@dataclass(frozen=True, slots=True)
class MaskedUpdate(Message):
    """Party to coordinator: a piece of its vector behind masks, residues modulo 2^k, little-endian.

    Attributes:
        seconds: that its computation took.
    """

    kind: ClassVar[str] = "masked_update"
    senders: ClassVar[tuple[str, ...]] = PARTIES
    residues: bytes
    seconds: Seconds


@dataclass(frozen=True, slots=True)
class EncryptedUpdate(TensorMessage):
    """Party to coordinator: a piece of its vector, packed, under the key that the parties hold."""

    kind: ClassVar[str] = "encrypted_update"
    senders: ClassVar[tuple[str, ...]] = PARTIES
    seconds: Seconds


@dataclass(frozen=True, slots=True)
class PlainUpdate(Message):
    """Party to coordinator: a piece of its vector in the clear, integers in fixed point, little-endian."""

    kind: ClassVar[str] = "plain_update"
    senders: ClassVar[tuple[str, ...]] = PARTIES
    residues: bytes
    seconds: Seconds


@dataclass(frozen=True, slots=True)
class Abstained(Message):
    """Party to coordinator: it has no vector for this sum. The reason names no value of any cell.

    Attributes:
        keyless: because it has no part in the keys that the order names.
    """

    kind: ClassVar[str] = "abstained"
    senders: ClassVar[tuple[str, ...]] = PARTIES
    reason: Text
    keyless: bool = False


@dataclass(frozen=True, slots=True)
class RevealRequest(Message):
    """Order: reveal shares, of the self masks of those whose vectors are summed, of the keys of the other members."""

    kind: ClassVar[str] = "reveal_request"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR,)
    window: Count
    slot: Count
    members: Names
    survivors: Names


@dataclass(frozen=True, slots=True)
class RevealedShares(Message):
    """Party to coordinator: its shares of what RevealRequest names, in the order of the members there."""

    kind: ClassVar[str] = "revealed_shares"
    senders: ClassVar[tuple[str, ...]] = PARTIES
    self_masks: Parts
    mask_keys: Parts


@dataclass(frozen=True, slots=True)
class SumKey(Message):
    """Dealer of a window to coordinator: the public Paillier key under which updates are added."""

    kind: ClassVar[str] = "sum_key"
    senders: ClassVar[tuple[str, ...]] = PARTIES
    key: bytes


@dataclass(frozen=True, slots=True)
class EncryptedSum(TensorMessage):
    """Order: open a sum under the parties' key.

    Attributes:
        task: what is summed, as the algorithm calls it; see SumLayout.
        numbers: that are packed in it.
        bits: of each of them.
        survivors: whose vectors are in it.
    """

    kind: ClassVar[str] = "encrypted_sum"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR,)
    task: Word
    numbers: Count
    bits: Count
    survivors: Names


@dataclass(frozen=True, slots=True)
class OpenedSum(Message):
    """Party to coordinator: a piece of the sum, as PlainUpdate."""

    kind: ClassVar[str] = "opened_sum"
    senders: ClassVar[tuple[str, ...]] = PARTIES
    residues: bytes


# What a coordinator orders beside the vectors themselves.
ORDERS: tuple[type[Message], ...] = (Advertise, PeerKeys, PeerShares, RevealRequest, EncryptedSum)
