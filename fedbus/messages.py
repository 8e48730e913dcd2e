"""The envelope of every message and the kinds of messages that travel in it.

A kind is a frozen dataclass; its fields are all that a message of that kind can carry. Nothing here does I/O.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from fedbus.crypto.tensor import CipherTensor

VERSION = 1


@dataclass(frozen=True, slots=True)
class Message:
    """Base of all kinds."""

    kind: ClassVar[str]


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message with its address and its place in the job.

    Attributes:
        round: place in the job; never decreases. A message of a round that its recipient has checkpointed is stale.
        batch: part of the round: a mini-batch, or one of several tables that are aligned.
        chunk: this piece of a long payload, 0 <= chunk < chunks.
        checkpoint: the last round that the sender has checkpointed, -1 for none; what was sent to it up to that round
            need not be kept any longer.
        sent_at: seconds since the epoch, for operators; no protocol depends on it.
    """

    job: str
    sender: str
    recipient: str
    payload: Message
    round: int = 0
    batch: int = 0
    chunk: int = 0
    chunks: int = 1
    checkpoint: int = -1
    sent_at: float = field(default_factory=time.time)
    version: int = VERSION

    @property
    def kind(self) -> str:
        return self.payload.kind

    @property
    def id(self) -> str:
        """The same for the same message sent again: 32 hexadecimal digits of its address and place."""
        place = (self.job, self.round, self.batch, self.sender, self.recipient, self.kind, self.chunk)
        digest = hashlib.blake2b(digest_size=16)
        for part in place:
            text = str(part).encode()
            digest.update(len(text).to_bytes(4, "big") + text)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Submit(Message):
    """Client to coordinator: run this job."""

    kind: ClassVar[str] = "submit"
    spec: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Query(Message):
    """Client to coordinator: publish the job's state again."""

    kind: ClassVar[str] = "query"


@dataclass(frozen=True, slots=True)
class Cancel(Message):
    """Client to coordinator: end the job."""

    kind: ClassVar[str] = "cancel"


@dataclass(frozen=True, slots=True)
class Start(Message):
    """Coordinator to a party: take part in this job."""

    kind: ClassVar[str] = "start"
    spec: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome(Message):
    """Coordinator to a party: how the job ended."""

    kind: ClassVar[str] = "outcome"
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class Accepted(Message):
    """Party to coordinator: its data is read and its policy agrees.

    Attributes:
        rows: of its tables before alignment.
        metrics: the address of its /metrics page.
    """

    kind: ClassVar[str] = "accepted"
    rows: dict[str, int]
    columns: int
    metrics: str


@dataclass(frozen=True, slots=True)
class Failed(Message):
    """Party to coordinator: it cannot go on. The reason names no value of any cell."""

    kind: ClassVar[str] = "failed"
    reason: str


@dataclass(frozen=True, slots=True)
class Finished(Message):
    """Party to coordinator: its part is done; what it adds to the report."""

    kind: ClassVar[str] = "finished"
    figures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resend(Message):
    """To a peer whose message is missing: publish it again from the outbox."""

    kind: ClassVar[str] = "resend"
    wanted: str
    round: int
    batch: int
    missing: list[int]


@dataclass(frozen=True, slots=True)
class Alive(Message):
    """Answer to Resend where there is nothing to send yet: the process lives, the message is still to come."""

    kind: ClassVar[str] = "alive"


@dataclass(frozen=True, slots=True)
class StateChanged(Message):
    """The job's state, with the report once it has ended."""

    kind: ClassVar[str] = "state"
    state: str
    reason: str = ""
    report: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Progress(Message):
    """A training round is done."""

    kind: ClassVar[str] = "progress"
    round: int
    epoch: int
    loss: float
    seconds: float


@dataclass(frozen=True, slots=True)
class AlignmentOffer(Message):
    """Guest and host to each other: what each brings to their alignment.

    Attributes:
        groups: in which it computes; the first of `fedbus.crypto.curve.GROUPS` that both name is taken.
        rows: how many ids it is going to send.
    """

    kind: ClassVar[str] = "alignment_offer"
    groups: tuple[str, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class BlindedIds(Message):
    """Ids hashed to the group and raised to the sender's secret exponent, shuffled; 32 bytes each."""

    kind: ClassVar[str] = "blinded_ids"
    group: str
    points: bytes


@dataclass(frozen=True, slots=True)
class DoublyBlindedIds(Message):
    """The guest's blinded ids raised to the host's exponent too, in the guest's order; 16 bytes of each."""

    kind: ClassVar[str] = "doubly_blinded_ids"
    values: bytes


@dataclass(frozen=True, slots=True)
class CommonRows(Message):
    """Guest to host: which positions of the host's shuffled ids are common, in the order of the aligned rows.

    4 bytes each, big-endian.
    """

    kind: ClassVar[str] = "common_rows"
    positions: bytes


@dataclass(frozen=True, slots=True)
class Aligned(Message):
    """Party to coordinator: rows in common, its columns with the guest's intercept, fraction bits of scores or 0."""

    kind: ClassVar[str] = "aligned"
    rows: int
    test_rows: int
    columns: int
    score_bits: int


@dataclass(frozen=True, slots=True)
class PublicKey(Message):
    """Coordinator to parties: the job's Paillier public key, and what they said in `aligned`, columns by party."""

    kind: ClassVar[str] = "public_key"
    key: bytes
    columns: dict[str, int]
    score_bits: int


@dataclass(frozen=True, slots=True)
class TensorMessage(Message):
    """Base of the kinds that carry one encrypted vector."""

    tensor: CipherTensor


@dataclass(frozen=True, slots=True)
class Forward(TensorMessage):
    """Host to guest: [[u_A]], its share of each row's score."""

    kind: ClassVar[str] = "forward"


@dataclass(frozen=True, slots=True)
class Residual(TensorMessage):
    """Guest to host: [[d]] = [[sum of all shares - y]], obfuscated anew."""

    kind: ClassVar[str] = "residual"


@dataclass(frozen=True, slots=True)
class LossShare(TensorMessage):
    """Host to guest: its part of the loss, one ciphertext: [[sum u_A^2]], or [[sum u_A d]] with several hosts."""

    kind: ClassVar[str] = "loss_share"


@dataclass(frozen=True, slots=True)
class MaskedGradient(TensorMessage):
    """Party to coordinator: [[X^T d + mask]], the mask uniform over all plaintexts."""

    kind: ClassVar[str] = "masked_gradient"


@dataclass(frozen=True, slots=True)
class EncryptedLoss(TensorMessage):
    """Guest to coordinator: [[loss]], one ciphertext."""

    kind: ClassVar[str] = "encrypted_loss"


@dataclass(frozen=True, slots=True)
class MaskedScores(TensorMessage):
    """Guest to coordinator: [[score + mask]] of rows to predict, the mask uniform over all plaintexts."""

    kind: ClassVar[str] = "masked_scores"


@dataclass(frozen=True, slots=True)
class Opened(Message):
    """Coordinator to the party that masked them: decrypted residues modulo n, big-endian, `width` bytes each."""

    kind: ClassVar[str] = "opened"
    width: int
    residues: bytes


@dataclass(frozen=True, slots=True)
class Verdict(Message):
    """Coordinator to parties: the loss of this round, and whether training ends with it."""

    kind: ClassVar[str] = "verdict"
    loss: float
    stop: bool
    converged: bool


M = TypeVar("M", bound=Message)
T = TypeVar("T", bound=TensorMessage)

KINDS: dict[str, type[Message]] = {
    cls.kind: cls
    for cls in (
        *(Submit, Query, Cancel, Start, Outcome, Accepted, Failed, Finished, Resend, Alive, StateChanged, Progress),
        *(AlignmentOffer, BlindedIds, DoublyBlindedIds, CommonRows, Aligned),
        *(PublicKey, Forward, LossShare, Residual, MaskedGradient, EncryptedLoss, MaskedScores, Opened, Verdict),
    )
}
