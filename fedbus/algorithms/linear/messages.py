"""These messages travel in vertical linear regression: first those of solver `sgd`, then those of solver `gram`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from msgspec import Meta

from fedbus.messages.envelope import COORDINATOR, GUEST, HOST, PARTIES, Message, TensorMessage
from fedbus.messages.fields import Bits, Exponent, Finite

_MOST_EXPONENT = 1100
# What the next round does: go on in a direction, compute the residual anew, look for columns of different parties that
# depend on each other, pass over the rows again with more bits; or there is none.
DIRECTION, CHECK, PROBE, PASS, STOP = "direction", "check", "probe", "pass", "stop"
GramStep = Annotated[str, Meta(pattern=rf"\A({DIRECTION}|{CHECK}|{PROBE}|{PASS}|{STOP})\Z")]


@dataclass(frozen=True, slots=True)
class MaskedGradient(TensorMessage):
    """Party to coordinator: [[X^T d + mask]], the mask uniform over all plaintexts."""

    kind: ClassVar[str] = "masked_gradient"
    senders: ClassVar[tuple[str, ...]] = PARTIES


@dataclass(frozen=True, slots=True)
class PackedRows(TensorMessage):
    """Party to parties: its columns, all in the slots of one plaintext a row, or of several side by side."""

    kind: ClassVar[str] = "packed_rows"
    senders: ClassVar[tuple[str, ...]] = PARTIES


@dataclass(frozen=True, slots=True)
class MaskedBlock(TensorMessage):
    """Party to coordinator: the cross products with another party's columns, every slot masked."""

    kind: ClassVar[str] = "masked_block"
    senders: ClassVar[tuple[str, ...]] = PARTIES


@dataclass(frozen=True, slots=True)
class BlockRows(TensorMessage):
    """Coordinator to the party that masked them: the same, encrypted anew, in packs of the other party's columns."""

    kind: ClassVar[str] = "block_rows"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR,)


@dataclass(frozen=True, slots=True)
class BlockColumns(TensorMessage):
    """Coordinator to the party that masked them: the same, encrypted anew, in packs of its own columns."""

    kind: ClassVar[str] = "block_columns"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR,)


@dataclass(frozen=True, slots=True)
class Block(TensorMessage):
    """Party to party: their cross products without masks, in packs of the sender's columns."""

    kind: ClassVar[str] = "block"
    senders: ClassVar[tuple[str, ...]] = PARTIES


@dataclass(frozen=True, slots=True)
class RightSide(TensorMessage):
    """Guest to host: [[X_A^T y]], packed."""

    kind: ClassVar[str] = "right_side"
    senders: ClassVar[tuple[str, ...]] = (GUEST,)


@dataclass(frozen=True, slots=True)
class CrossProduct(TensorMessage):
    """Party to party: [[X_other^T X_own v]], packed."""

    kind: ClassVar[str] = "cross_product"
    senders: ClassVar[tuple[str, ...]] = PARTIES


@dataclass(frozen=True, slots=True)
class ScalarShare(TensorMessage):
    """Host to guest: its parts of sums that the coordinator is to learn."""

    kind: ClassVar[str] = "scalar_share"
    senders: ClassVar[tuple[str, ...]] = (HOST,)


@dataclass(frozen=True, slots=True)
class EncryptedScalars(TensorMessage):
    """Guest to coordinator: sums over all parties."""

    kind: ClassVar[str] = "encrypted_scalars"
    senders: ClassVar[tuple[str, ...]] = (GUEST,)


@dataclass(frozen=True, slots=True)
class Step(Message):
    """Coordinator to parties: how far to go in the direction of this round.

    Attributes:
        keep: in a probe: along this direction the columns of all parties hardly vary, and least so far.
    """

    kind: ClassVar[str] = "step"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR,)
    length: Finite
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Turn(Message):
    """Coordinator to parties: what comes next, and what a verdict says.

    Attributes:
        factor: what part of the old direction the new one keeps.
        exponent: of the power of two in whose units the next direction, or the weights, are multiplied.
        then: what comes next, one of DIRECTION, CHECK (in which the weights take the direction's place), PROBE, PASS,
            STOP.
        bits: fraction bits of columns in the pass that comes next; 0 with anything else.
    """

    kind: ClassVar[str] = "turn"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR,)
    factor: Finite
    exponent: Exponent
    then: GramStep
    loss: Finite
    converged: bool
    bits: Bits = 0

    def check(self) -> None:
        """A unit beyond what any float64 reaches would make integers of any length."""
        if abs(self.exponent) > _MOST_EXPONENT:
            raise ValueError(f"exponent: {self.exponent} is that of no number")


@dataclass(frozen=True, slots=True)
class PackedScores(TensorMessage):
    """Party to party: its part of each row's score, at the guest less the label, several rows in a plaintext."""

    kind: ClassVar[str] = "packed_scores"
    senders: ClassVar[tuple[str, ...]] = PARTIES


@dataclass(frozen=True, slots=True)
class MaskedProducts(TensorMessage):
    """Party to coordinator: the products of two parties' scores, every slot masked."""

    kind: ClassVar[str] = "masked_products"
    senders: ClassVar[tuple[str, ...]] = PARTIES
