"""The members whom tests know: each has a key that follows from its name, and a roster of all the others."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fedbus import codec
from fedbus.cli.introductions import KeyFiles
from fedbus.credentials import Credentials
from fedbus.identity import Identity, Role, Roster
from fedbus.job import JobSpec
from fedbus.members.keys import private_text
from fedbus.messages.control import Start, Submit
from fedbus.messages.envelope import Envelope
from fedbus.messages.seal import IDENTITY, Content
from fedbus.seals import IdentitySeals, sign
from fedbus.settings import CoordinatorSettings, PartySettings

_ROLES = {
    Role.COORDINATOR: ("coordinator", "coordinator-2"),
    Role.CLIENT: ("client", "alice", "bert", "carol", "olga", "mallory"),
    Role.PARTY: ("shop", "bank", "credit", "other", *(f"clinic{number}" for number in range(8))),
}
ROLES = {name: role for role, names in _ROLES.items() for name in names}


def private(name: str) -> bytes:
    """The private key of a name, known to everybody."""
    return hashlib.sha256(f"fedbus tests: {name}".encode()).digest()


def roster(*parties: str) -> Roster:
    """All members that tests know, of whom these are parties whatever they are elsewhere."""
    roles = {**ROLES, **dict.fromkeys(parties, Role.PARTY)}
    return Roster([Identity(private(name)).introduction(name, role) for name, role in roles.items()])


@cache
def credentials(name: str, *parties: str) -> Credentials:
    """A member's credentials; one whom tests do not know is a stranger, who knows everybody but is not known."""
    known = roster(*parties) if name in (*ROLES, *parties) else roster(*parties, name)
    return Credentials(name, known.role(name), Identity(private(name)), known)


@cache
def seals(name: str) -> IdentitySeals:
    """A member's seals of what belongs to no job's session."""
    return IdentitySeals(credentials(name))


def sealed(envelope: Envelope, by: str = "") -> bytes:
    """A message of no session, sealed by its sender, or by another who says that it is."""
    return codec.encode(envelope, seals(by or envelope.sender))


def crafted(envelope: Envelope, payload: Any, by: str = "") -> bytes:
    """A message like this one, properly sealed, whose payload may be anything."""
    made = seals(by or envelope.sender)
    content = Content.seal(codec._common(envelope), codec.pack(payload), group=False)
    fields = codec.header(envelope, IDENTITY)
    slot = made.seal_key(envelope.recipient, IDENTITY, content, codec.pack(fields))
    return codec.pack({**fields, "payload": slot + content.sealed})


def peek(body: bytes) -> Envelope:
    """What anybody reads of a sealed message: the envelope, with the kind in place of the payload."""
    return codec._read(body, lambda _, unread: unread)


def opened(name: str, body: bytes) -> Envelope:
    """What a member reads in a message of no session."""
    return codec.decode(body, seals(name))


def submission(job: str, spec: JobSpec, by: str = "alice") -> Submit:
    """A job signed by its submitter."""
    return Submit(spec.to_map(), sign(Identity(private(by)), job, by, spec))


def start(job: str, spec: JobSpec, by: str = "alice") -> Start:
    """What the coordinator tells parties of a job signed by its submitter."""
    return Start(spec.to_map(), by, submission(job, spec, by).signature)


def key_files(folder: Path, name: str, *parties: str) -> KeyFiles:
    """A member's key file and roster in a folder, see `credentials`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = KeyFiles(folder / f"{name}.key", folder / "roster.toml")
    files.identity.write_text(private_text(private(name)) + "\n")
    files.identity.chmod(0o600)
    lines = [each.line() for each in credentials(name, *parties).roster.members]
    files.roster.write_text("\n".join(["[members]", *lines]) + "\n")
    return files


S = TypeVar("S", PartySettings, CoordinatorSettings)


def introduced(settings: S, folder: Path) -> S:
    """A member's settings with its key file and roster, which are written into a folder."""
    files = key_files(folder, settings.name)
    paths = {"identity": str(files.identity.absolute()), "roster": str(files.roster.absolute())}
    return msgspec.structs.replace(settings, **paths)
