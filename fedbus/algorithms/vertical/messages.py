"""What vertical jobs send: the alignment of rows, the key, scores and residuals of a pass over rows, and verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedbus.messages.envelope import COORDINATOR, GUEST, HOST, PARTIES, Message, TensorMessage
from fedbus.messages.fields import Columns, ColumnsByParty, Count, Exponent, Finite, Width, Word, Words


@dataclass(frozen=True, slots=True)
class AlignmentOffer(Message):
    """Guest and host to each other: what each brings to their alignment.

    Attributes:
        groups: in which it computes; the first of `fedbus.crypto.curve.GROUPS` that both name is taken.
        rows: how many ids it is going to send.
    """

    kind: ClassVar[str] = "alignment_offer"
    senders: ClassVar[tuple[str, ...]] = PARTIES
    groups: Words
    rows: Count


@dataclass(frozen=True, slots=True)
class BlindedIds(Message):
    """Ids hashed to the group and raised to the sender's secret exponent, shuffled; 32 bytes each."""

    kind: ClassVar[str] = "blinded_ids"
    senders: ClassVar[tuple[str, ...]] = PARTIES
    group: Word
    points: bytes


@dataclass(frozen=True, slots=True)
class DoublyBlindedIds(Message):
    """The guest's blinded ids raised to the host's exponent too, in the guest's order; 16 bytes of each."""

    kind: ClassVar[str] = "doubly_blinded_ids"
    senders: ClassVar[tuple[str, ...]] = (HOST,)
    values: bytes


@dataclass(frozen=True, slots=True)
class CommonRows(Message):
    """Guest to host: which positions of the host's shuffled ids are common, in the order of the aligned rows.

    4 bytes each, big-endian.
    """

    kind: ClassVar[str] = "common_rows"
    senders: ClassVar[tuple[str, ...]] = (GUEST,)
    positions: bytes


@dataclass(frozen=True, slots=True)
class Aligned(Message):
    """Party to coordinator: rows in common, its columns with the guest's intercept, fraction bits of scores or 0."""

    kind: ClassVar[str] = "aligned"
    senders: ClassVar[tuple[str, ...]] = PARTIES
    rows: Count
    test_rows: Count
    columns: Columns
    score_bits: Exponent


@dataclass(frozen=True, slots=True)
class JobKey(Message):
    """Coordinator to parties: the job's Paillier public key, and what they said in `aligned`, columns by party."""

    kind: ClassVar[str] = "job_key"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR,)
    key: bytes
    columns: ColumnsByParty
    score_bits: Exponent


@dataclass(frozen=True, slots=True)
class Forward(TensorMessage):
    """Host to guest: [[u_A]], its share of each row's score."""

    kind: ClassVar[str] = "forward"
    senders: ClassVar[tuple[str, ...]] = (HOST,)


@dataclass(frozen=True, slots=True)
class Residual(TensorMessage):
    """Guest to host: [[d]] = [[sum of all shares - y]], obfuscated anew."""

    kind: ClassVar[str] = "residual"
    senders: ClassVar[tuple[str, ...]] = (GUEST,)


@dataclass(frozen=True, slots=True)
class LossShare(TensorMessage):
    """Host to guest: its part of the loss, one ciphertext: [[sum u_A^2]], or [[sum u_A d]] with several hosts."""

    kind: ClassVar[str] = "loss_share"
    senders: ClassVar[tuple[str, ...]] = (HOST,)


@dataclass(frozen=True, slots=True)
class EncryptedLoss(TensorMessage):
    """Guest to coordinator: [[loss]], one ciphertext."""

    kind: ClassVar[str] = "encrypted_loss"
    senders: ClassVar[tuple[str, ...]] = (GUEST,)


@dataclass(frozen=True, slots=True)
class Verdict(Message):
    """Coordinator to parties: the loss of this round, and whether training ends with it."""

    kind: ClassVar[str] = "verdict"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR,)
    loss: Finite
    stop: bool
    converged: bool


@dataclass(frozen=True, slots=True)
class MaskedScores(TensorMessage):
    """Guest to coordinator: [[score + mask]] of rows to predict, the mask uniform over all plaintexts."""

    kind: ClassVar[str] = "masked_scores"
    senders: ClassVar[tuple[str, ...]] = (GUEST,)


@dataclass(frozen=True, slots=True)
class Opened(Message):
    """Coordinator to the party that masked them: decrypted residues modulo n, big-endian, `width` bytes each."""

    kind: ClassVar[str] = "opened"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR,)
    width: Width
    residues: bytes
