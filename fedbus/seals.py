"""Payloads sealed by their sender for their recipient alone: a broker and whoever reads its queues see places only.

A payload is sealed once, under a key of its own. That key is sealed for each recipient and bound to all of the header
that stays readable, so that a message cannot be moved to another job, place or recipient. Where there are several
recipients it is bound to a digest of the sealed payload too, so that none of them, who all know the key, can put
another payload in its place for another. The key is sealed

- within a job under the secret that sender and recipient agree on by X25519 key pairs that each of them makes for the
  job. Each message carries its sender's public key, signed by the sender's identity; with the job the pairs are gone,
  and what was sent cannot be opened any more, whatever becomes of the identities;
- before that, and outside of jobs, under the secret of the two identities.

Source: Langley, Hamburg, Turner, RFC 7748 (X25519); Nir, Langley, RFC 8439 (ChaCha20-Poly1305); Thormarker, "On using
the same key pair for Ed25519 and an X25519 based KEM", 2021.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from fedbus.credentials import Credentials
from fedbus.crypto import sealing
from fedbus.crypto.masking import SecretStream
from fedbus.crypto.signing import SIGNATURE_BYTES
from fedbus.errors import CryptoError, DecodeError, ProtocolError, StoreError
from fedbus.identity import Identity, Role, Roster
from fedbus.job import JobSpec
from fedbus.members.keys import public_text
from fedbus.messages.control import Alive, Failed, Notice, Ping, Resend, ResendAfter
from fedbus.messages.envelope import COORDINATOR, Envelope
from fedbus.messages.seal import GROUP, IDENTITY, JOB, Content, digest_of

CERTIFICATE_BYTES = sealing.KEY_BYTES + SIGNATURE_BYTES
_JOB_KEY = "fedbus job key"
_JOB = "fedbus job"
# The sealed key of a payload.
_SLOT_BYTES = sealing.KEY_BYTES + sealing.OVERHEAD_BYTES
# What members say to each other before each has the other's key for the job, or where one of them has no part in it.
_EARLY = frozenset(kind.kind for kind in (Ping, Resend, ResendAfter, Alive, Notice, Failed))


class Secrets:
    """The secrets of a member's identity and those of the others, each agreed on once and for as long as a key counts.

    A member that changes its key has two for a while: what it is sent is sealed under the newer one, and what it sends
    may be sealed under either.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        # Of keys on the roster only, so that it has no more entries than those.
        self._found: dict[bytes, bytes] = {}

    def of(self, name: str) -> tuple[bytes, ...]:
        """The secrets, 32 bytes each, with a member, under the key that it signs by first.

        Raises:
            ProtocolError: it is not on the roster, or all its keys have run out.
        """
        return tuple(self._agreed(name, key) for key in self._credentials.roster.keys(name))

    def _agreed(self, name: str, key: bytes) -> bytes:
        if key not in self._found:
            self._found[key] = self._credentials.identity.agree(self._credentials.roster, name, public_text(key))
        return self._found[key]


class IdentitySeals:
    """Seals and opens what belongs to no job's session: requests, orders to processes, events, answers."""

    certificate = b""

    def __init__(self, credentials: Credentials) -> None:
        self.name = credentials.name
        self._credentials = credentials
        self._secrets = Secrets(credentials)

    def knows(self, name: str) -> bool:
        """Whether a member is on the roster, so that something can be sealed for it."""
        return name in self._credentials.roster.names

    def manner(self, kind: str, recipient: str) -> int:  # noqa: ARG002  # see Seals
        """See Seals."""
        return IDENTITY

    def seal_key(self, recipient: str, manner: int, content: Content, associated: bytes) -> bytes:  # noqa: ARG002  # see Seals
        """See Seals."""
        return sealing.seal(self._secrets.of(recipient)[0], content.key, associated + content.digest)

    def open(
        self, unread: Envelope, manner: int, certificate: bytes, common: bytes, associated: bytes, box: bytes
    ) -> bytes:
        """See Seals."""
        if not manner & IDENTITY or certificate:
            raise DecodeError(f"{unread.kind} message that is sealed as within a job", why="seal")
        found = _known(unread, self._secrets, _peer(unread, self.name))
        check_sender(unread, self._credentials.roster.role(unread.sender))
        return _open(unread, found, manner, common, associated, box)


class JobSeals:
    """Seals and opens what one member sends and receives in one job.

    A peer has one key for the job, the first that came under its identity's signature. Another one would be that of a
    peer that lost its store and with it the job, or of somebody who stole its identity while the job ran.

    Args:
        secret: of the job, from which this member's key pair follows; it goes when the job has ended.
        role: what a participant is in the job; see JobSpec.role.
        peers: certificates of others that are known from before a restart.
        keep: called with a name and a certificate that is new, and again with the peer's next message if it raises
            StoreError.
    """

    def __init__(
        self,
        credentials: Credentials,
        job: str,
        secret: bytes,
        role: Callable[[str], str],
        peers: Mapping[str, bytes] = {},  # only read
        keep: Callable[[str, bytes], None] = lambda _name, _certificate: None,
    ) -> None:
        self._credentials = credentials
        self._name = credentials.name
        self._secrets = Secrets(credentials)
        self._job = job
        self._role = role
        seed = SecretStream(secret, f"{job}/{self._name}/job/seals").read(sealing.SEED_BYTES)
        self._private, public = sealing.key_pair(seed)
        self.certificate = public + credentials.identity.sign(_JOB_KEY, job.encode(), self._name.encode(), public)
        self._keep = keep
        self._kept = set(peers)
        self._peers = {name: (certificate, self._agree(name, certificate)) for name, certificate in peers.items()}

    def knows(self, name: str) -> bool:
        """Whether there is a key for what is sent to a member."""
        return name in self._peers

    def manner(self, kind: str, recipient: str) -> int:
        """See Seals; raises ProtocolError where there is no key yet of a recipient who has to be met first."""
        if self.knows(recipient):
            return JOB
        if kind in _EARLY:
            return IDENTITY
        raise ProtocolError(f"{kind} for {recipient}, of whom there is no key for job {self._job} yet")

    def seal_key(self, recipient: str, manner: int, content: Content, associated: bytes) -> bytes:
        """See Seals."""
        secret = self._peers[recipient][1] if manner & JOB else self._secrets.of(recipient)[0]
        return sealing.seal(secret, content.key, associated + content.digest)

    def open(
        self, unread: Envelope, manner: int, certificate: bytes, common: bytes, associated: bytes, box: bytes
    ) -> bytes:
        """See Seals; the sender's key is entered once a message under it has opened."""
        peer = _peer(unread, self._name)
        check_sender(unread, self._role(unread.sender))
        if manner & IDENTITY and unread.kind not in _EARLY:
            raise DecodeError(f"{unread.kind} message of {unread.sender} that is not sealed for the job", why="seal")
        if unread.sender == self._name:
            return self._open_own(unread, manner, peer, common, associated, box)
        if manner & IDENTITY and not certificate:
            # Of one that has no session of the job.
            return _open(unread, _known(unread, self._secrets, peer), manner, common, associated, box)
        known = self._peers.get(peer)
        if known is not None and known[0] != certificate:
            raise DecodeError(f"{unread.kind} message of {peer} under another key than its own in this job", why="key")
        agreed = known[1] if known else self._agree(peer, certificate)
        found = (agreed,) if manner & JOB else _known(unread, self._secrets, peer)
        plaintext = _open(unread, found, manner, common, associated, box)
        self._peers.setdefault(peer, (certificate, agreed))
        if peer not in self._kept:
            # A store that cannot be written fails the journal, which knows what to do about it.
            with contextlib.suppress(StoreError):
                self._keep(peer, certificate)
                self._kept.add(peer)
        return plaintext

    def _open_own(
        self, unread: Envelope, manner: int, peer: str, common: bytes, associated: bytes, box: bytes
    ) -> bytes:
        if manner & IDENTITY:
            return _open(unread, _known(unread, self._secrets, peer), manner, common, associated, box)
        if not self.knows(peer):
            raise DecodeError(f"own {unread.kind} message to {peer}, of whom there is no key", why="seal")
        return _open(unread, (self._peers[peer][1],), manner, common, associated, box)

    def _agree(self, name: str, certificate: bytes) -> bytes:
        public, signature = certificate[: sealing.KEY_BYTES], certificate[sealing.KEY_BYTES :]
        role = Role.COORDINATOR if self._role(name) == COORDINATOR else Role.PARTY
        statement = (_JOB_KEY, self._job.encode(), name.encode(), public)
        try:
            self._credentials.roster.verify(name, signature, *statement, role=role)
            return sealing.agree(self._private, public)
        except (ProtocolError, CryptoError) as error:
            raise DecodeError(f"a message of {name} has no key of {name} for the job: {error}", why="seal") from error


def sign(identity: Identity, job: str, owner: str, spec: JobSpec) -> bytes:
    """A submitter's signature of a job, 64 bytes: that it wants this job under this id."""
    return identity.sign(_JOB, job.encode(), owner.encode(), spec.canonical())


def check_signed(roster: Roster, job: str, owner: str, signature: bytes, spec: JobSpec) -> None:
    """Make sure that a job is what its submitter signed.

    Raises:
        ProtocolError: the submitter is no client on the roster, or did not sign this job.
    """
    roster.verify(owner, signature, _JOB, job.encode(), owner.encode(), spec.canonical(), role=Role.CLIENT)


def check_sender(unread: Envelope, role: str) -> None:
    """Raise DecodeError where one of this role may not send messages of this kind; `unread` has the kind as payload."""
    if role not in unread.payload.senders:
        raise DecodeError(f"{unread.kind} message of {unread.sender}, a {role}, who may not send it", why="role")


def _known(unread: Envelope, secrets_: Secrets, peer: str) -> tuple[bytes, ...]:
    try:
        return secrets_.of(peer)
    except (ProtocolError, CryptoError) as error:
        raise DecodeError(f"{unread.kind} message of {unread.sender}: {error}", why="stranger") from error


def _peer(unread: Envelope, name: str) -> str:
    """The member at the other end of a message."""
    if name not in (unread.sender, unread.recipient):
        raise DecodeError(f"{unread.kind} message of {unread.sender} for {unread.recipient}, not {name}", why="address")
    return unread.sender if unread.recipient == name else unread.recipient


def _open(
    unread: Envelope, found: tuple[bytes, ...], manner: int, common: bytes, associated: bytes, box: bytes
) -> bytes:
    """The payload; one of the secrets has to open it."""
    # Not copied, for it may be long.
    slot, sealed = box[:_SLOT_BYTES], memoryview(box)[_SLOT_BYTES:]
    bound = associated + (digest_of(sealed) if manner & GROUP else b"")
    for secret in found[:-1]:
        with contextlib.suppress(CryptoError):
            return sealing.open_once(sealing.open_sealed(secret, slot, bound), sealed, common)
    try:
        return sealing.open_once(sealing.open_sealed(found[-1], slot, bound), sealed, common)
    except (CryptoError, ValueError) as error:
        raise DecodeError(f"{unread.kind} message that comes as {unread.sender}'s: {error}", why="seal") from error
