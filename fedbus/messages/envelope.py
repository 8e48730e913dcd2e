"""Every message has an envelope, and its payload is derived from one of the bases here."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

from fedbus.crypto.tensor import CipherTensor

VERSION = 4
# What a sender is: in a job what JobSpec.role says, elsewhere what the roster says.
CLIENT, COORDINATOR, PARTY, GUEST, HOST = "client", "coordinator", "party", "guest", "host"
PARTIES = (PARTY, GUEST, HOST)
# Fraction bits of a cipher tensor that is sent.
MAX_SCALE = 4096


@dataclass(frozen=True, slots=True)
class Message:
    """The base of all kinds of messages.

    Attributes:
        kind: its name in envelopes.
        senders: who may send it; it is refused from anybody else.
    """

    kind: ClassVar[str]
    senders: ClassVar[tuple[str, ...]]

    def check(self) -> None:  # most kinds have nothing that their fields' types do not say
        """Hold a message that was received against what the types of its fields do not say.

        Raises:
            TypeError, ValueError: names the field.
        """


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
        """The message's id, which is the same for the same message sent again:
        32 hexadecimal digits of its address and place.
        """
        place = (self.job, self.round, self.batch, self.sender, self.recipient, self.kind, self.chunk)
        digest = hashlib.blake2b(digest_size=16)
        for part in place:
            text = str(part).encode()
            digest.update(len(text).to_bytes(4, "big") + text)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class TensorMessage(Message):
    """The base of the kinds that carry one encrypted vector."""

    tensor: CipherTensor

    def check(self) -> None:
        if not 0 <= self.tensor.scale <= MAX_SCALE:
            raise ValueError(f"tensor: {self.tensor.scale} fraction bits, where 0 to {MAX_SCALE} can be")


M = TypeVar("M", bound=Message)
T = TypeVar("T", bound=TensorMessage)
