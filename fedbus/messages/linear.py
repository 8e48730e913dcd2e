"""What travels in vertical linear regression, parties/linear/sgd.py; keys and openings serve other solvers too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedbus.messages.envelope import Message, TensorMessage
from fedbus.messages.fields import ColumnsByParty, Exponent, Finite, Width


@dataclass(frozen=True, slots=True)
class PublicKey(Message):
    """Coordinator to parties: the job's Paillier public key, and what they said in `aligned`, columns by party."""

    kind: ClassVar[str] = "public_key"
    key: bytes
    columns: ColumnsByParty
    score_bits: Exponent


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
    width: Width
    residues: bytes


@dataclass(frozen=True, slots=True)
class Verdict(Message):
    """Coordinator to parties: the loss of this round, and whether training ends with it."""

    kind: ClassVar[str] = "verdict"
    loss: Finite
    stop: bool
    converged: bool
