"""The envelope of every message and the kinds of messages that travel in it.

A kind is a frozen dataclass; its fields are all that a message of that kind can carry. Nothing here does I/O.
"""

from __future__ import annotations

from fedbus.messages.alignment import Aligned, AlignmentOffer, BlindedIds, CommonRows, DoublyBlindedIds
from fedbus.messages.envelope import VERSION, Envelope, M, Message, T, TensorMessage
from fedbus.messages.gram import (
    Block,
    BlockColumns,
    BlockRows,
    CrossProduct,
    EncryptedScalars,
    MaskedBlock,
    PackedRows,
    RightSide,
    ScalarShare,
    Step,
    Turn,
)
from fedbus.messages.jobs import (
    Accepted,
    Alive,
    Cancel,
    Failed,
    Finished,
    Outcome,
    Progress,
    Query,
    Resend,
    Start,
    StateChanged,
    Submit,
)
from fedbus.messages.linear import (
    EncryptedLoss,
    Forward,
    LossShare,
    MaskedGradient,
    MaskedScores,
    Opened,
    PublicKey,
    Residual,
    Verdict,
)

__all__ = [
    "KINDS",
    "VERSION",
    "Accepted",
    "Aligned",
    "AlignmentOffer",
    "Alive",
    "BlindedIds",
    "Block",
    "BlockColumns",
    "BlockRows",
    "Cancel",
    "CommonRows",
    "CrossProduct",
    "DoublyBlindedIds",
    "EncryptedLoss",
    "EncryptedScalars",
    "Envelope",
    "Failed",
    "Finished",
    "Forward",
    "LossShare",
    "M",
    "MaskedBlock",
    "MaskedGradient",
    "MaskedScores",
    "Message",
    "Opened",
    "Outcome",
    "PackedRows",
    "Progress",
    "PublicKey",
    "Query",
    "Resend",
    "Residual",
    "RightSide",
    "ScalarShare",
    "Start",
    "StateChanged",
    "Step",
    "Submit",
    "T",
    "TensorMessage",
    "Turn",
    "Verdict",
]

KINDS: dict[str, type[Message]] = {
    cls.kind: cls
    for cls in (
        *(Submit, Query, Cancel, Start, Outcome, Accepted, Failed, Finished, Resend, Alive, StateChanged, Progress),
        *(AlignmentOffer, BlindedIds, DoublyBlindedIds, CommonRows, Aligned),
        *(PackedRows, MaskedBlock, BlockRows, BlockColumns, Block, RightSide, CrossProduct),
        *(ScalarShare, EncryptedScalars, Step, Turn),
        *(PublicKey, Forward, LossShare, Residual, MaskedGradient, EncryptedLoss, MaskedScores, Opened, Verdict),
    )
}
