"""What a roster says of one member: read from its file, and written as a line of it."""

from __future__ import annotations

import base64
import binascii
import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from fedbus.crypto import signing
from fedbus.errors import ConfigError
from fedbus.members.keys import PRIVATE, PUBLIC, public_text, read_public
from fedbus.names import NAME
from fedbus.schema import convert

_PURPOSE = "fedbus member"
_MAX_KEYS = 2


class Role(StrEnum):
    """What a member does in a federation, and which of its signatures count."""

    COORDINATOR = "coordinator"
    PARTY = "party"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Key:
    """A public key of a member.

    Attributes:
        since: when it was entered, for people to know.
        until: the last day, in UTC, on which it counts; None where it has no end.
        proof: the member's signature over name, role and key; empty where the roster has none.
    """

    public: bytes
    since: datetime.date | None = None
    until: datetime.date | None = None
    proof: bytes = b""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a federation.

    Attributes:
        keys: one or two; the one that it signs by is the first.
    """

    name: str
    role: Role
    keys: tuple[Key, ...]

    def line(self) -> str:
        """The member's line of a roster file."""
        tables = [_inline(key, self.role) for key in self.keys]
        return f"{self.name} = {tables[0] if len(tables) == 1 else '[' + ', '.join(tables) + ']'}"


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str
    role: Role = Role.PARTY
    since: datetime.date | None = None
    until: datetime.date | None = None
    proof: str = ""


def statement(name: str, role: Role, public: bytes) -> bytes:
    """What a member signs to vouch for its line."""
    return signing.statement(_PURPOSE, (name.encode(), role.encode(), public))


def members_of(mapping: Mapping[str, Any], where: str, table: str) -> list[Member]:
    """The members of a table of a roster.

    Raises:
        ConfigError: names the file, the member and what to do.
    """
    members, owners = [], dict[bytes, str]()
    for name, value in mapping.items():
        member = _member(name, value, where, f"{table}.{name}")
        for key in member.keys:
            if key.public in owners:
                # Either of the two could sign as the other.
                raise ConfigError(
                    f"{where}: {table}.{name}: the same key as {table}.{owners[key.public]}; every member makes its own"
                )
            owners[key.public] = name
        members.append(member)
    return members


def _member(name: str, value: Any, where: str, place: str) -> Member:
    if not NAME.fullmatch(name):
        raise ConfigError(f"{where}: {place}: not a name; one has small letters, digits, _ and -, 64 at most")
    values = value if isinstance(value, list) else [value]
    if not 0 < len(values) <= _MAX_KEYS:
        raise ConfigError(f"{where}: {place}: {len(values)} keys; a member has one, or two while it changes its key")
    entries = [_entry(each, where, place) for each in values]
    keys = tuple(_key(name, entry, where, place) for entry in entries)
    roles = {entry.role for entry in entries}
    if len(roles) > 1:
        raise ConfigError(f"{where}: {place}: a member has one role, not {' and '.join(sorted(roles))}")
    if len({key.public for key in keys}) < len(keys):
        raise ConfigError(f"{where}: {place}: the same key twice; remove one of the two")
    endless = [key for key in keys if key.until is None]
    if len(endless) > 1:
        raise ConfigError(f"{where}: {place}: two keys without an end; the older one needs until = 2026-12-31 or so")
    ending = sorted((key for key in keys if key.until), key=lambda key: str(key.until), reverse=True)
    return Member(name, roles.pop(), (*endless, *ending))


def _entry(value: Any, where: str, place: str) -> _Entry:
    if isinstance(value, str):
        return _Entry(value)
    if not isinstance(value, dict):
        raise _no_key(where, place)
    for name in ("since", "until"):
        # A time of day would be refused by most, and cut off by msgspec.
        if name in value and type(value[name]) is not datetime.date:
            raise ConfigError(f"{where}: {place}.{name}: expected a date without quotes, such as 2026-12-31")
    return convert(value, _Entry, where, place)


def _key(name: str, entry: _Entry, where: str, place: str) -> Key:
    if entry.key.startswith(PRIVATE):
        raise ConfigError(
            f"{where}: {place}: a private key, which belongs in no roster; make a new one, this one is known"
        )
    public = read_public(entry.key)
    if public is None:
        raise _no_key(where, place)
    proof = _signature(entry.proof)
    if entry.proof and not (proof and signing.is_signed(public, proof, statement(name, entry.role, public))):
        raise ConfigError(
            f"{where}: {place}: its proof does not fit it: the line was changed or cut off; ask {name}'s operator for"
            " what `fedbus identity` prints"
        )
    return Key(public, entry.since, entry.until, proof)


def _signature(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _no_key(where: str, place: str) -> ConfigError:
    return ConfigError(f'{where}: {place}: not a public key; expected "{PUBLIC}" and 44 characters of base64')


def _inline(key: Key, role: Role) -> str:
    fields = [f'key = "{public_text(key.public)}"', f'role = "{role}"']
    fields += [f"since = {key.since}"] if key.since else []
    fields += [f"until = {key.until}"] if key.until else []
    fields += [f'proof = "{base64.b64encode(key.proof).decode()}"'] if key.proof else []
    return f"{{ {', '.join(fields)} }}"
