"""What the sealing of payloads is to those who encode and decode messages; fedbus/seals.py does it."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Protocol

from fedbus.crypto import sealing
from fedbus.messages.envelope import Envelope

# How a payload is sealed: not at all, which only what never leaves a process may be; under the keys of identities; or
# under those that two members made for the job.
PLAIN, IDENTITY, JOB = 0, 1, 2
# Added where the same sealed payload goes to several.
GROUP = 4
MANNERS = (PLAIN, IDENTITY, JOB, IDENTITY | GROUP, JOB | GROUP)


@dataclass(frozen=True, slots=True)
class Content:
    """A sealed payload, and what each of its recipients needs to open it.

    Attributes:
        digest: of the sealed payload, where there are several recipients; empty elsewhere.
    """

    key: bytes
    sealed: bytes
    digest: bytes

    @classmethod
    def seal(cls, common: bytes, plaintext: bytes, *, group: bool) -> Content:
        """Seal a payload under a key of its own, for one recipient or a group of them."""
        key = secrets.token_bytes(sealing.KEY_BYTES)
        sealed = sealing.seal_once(key, plaintext, common)
        return cls(key, sealed, digest_of(sealed) if group else b"")


def digest_of(sealed: bytes | memoryview) -> bytes:
    """Compute what the key of a payload for several is bound to: none of them can put another payload in its place."""
    return hashlib.sha256(sealed).digest()


class Seals(Protocol):
    """What seals and opens payloads for one member; see fedbus.seals."""

    @property
    def certificate(self) -> bytes:
        """This member's public key for the job, signed by its identity; empty where there is no job."""
        ...

    def manner(self, kind: str, recipient: str) -> int:
        """How a message is sealed: IDENTITY or JOB."""
        ...

    def seal_key(self, recipient: str, manner: int, content: Content, associated: bytes) -> bytes:
        """The key of a sealed payload, sealed for one recipient and bound to the payload and to the header."""
        ...

    def open(
        self, unread: Envelope, manner: int, certificate: bytes, common: bytes, associated: bytes, box: bytes
    ) -> bytes:
        """The payload that was sealed; raises DecodeError."""
        ...
