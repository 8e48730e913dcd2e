"""What the sealing of payloads is to those who encode and decode messages; fedbus/seals.py does it."""

from __future__ import annotations

from typing import Protocol

from fedbus.messages.envelope import Envelope

# How a payload is sealed: not at all, which only what never leaves a process may be; under the keys of identities; or
# under those that two members made for the job.
PLAIN, IDENTITY, JOB = 0, 1, 2


class Seals(Protocol):
    """What seals and opens payloads for one member; see fedbus.seals."""

    @property
    def certificate(self) -> bytes:
        """This member's public key for the job, signed by its identity; empty where there is no job."""
        ...

    def manner(self, kind: str, recipient: str) -> int:
        """How a message is sealed: IDENTITY or JOB."""
        ...

    def seal_content(self, common: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
        """The key of a payload, and the payload sealed under it, for any number of recipients."""
        ...

    def seal_key(self, recipient: str, manner: int, key: bytes, sealed: bytes, associated: bytes) -> bytes:
        """The key of a sealed payload, sealed for one recipient and bound to the payload and to the header."""
        ...

    def open(
        self, unread: Envelope, manner: int, certificate: bytes, common: bytes, associated: bytes, box: bytes
    ) -> bytes:
        """The payload that was sealed; raises DecodeError."""
        ...
