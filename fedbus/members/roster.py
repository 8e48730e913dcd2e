"""The roster: who is a member of a federation, in which role, and by which keys the others know it.

A TOML file, in which each member is a line of the table [members]:

    shop = { key = "ed25519:…", role = "party", since = 2026-11-28, proof = "…" }
    bank = "ed25519:…"

A key alone is a party's. `proof` is the member's own signature over the line, as `fedbus identity` printed it. A member
that changes its key has two for a while, [{ … }, { …, until = 2026-12-31 }]: it signs by the one without an end, and
the other counts until its day is over in UTC. The table may be called [parties], as in rosters of parties only.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from fedbus.crypto import signing
from fedbus.errors import ConfigError, ProtocolError
from fedbus.members.entries import Member, Role, members_of
from fedbus.members.keys import public_text
from fedbus.schema import convert, read_toml

Date = datetime.date


def today() -> Date:
    """The day of it in UTC, which begins and ends at the same time for all members."""
    return datetime.datetime.now(datetime.UTC).date()


class _RosterFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    members: dict[str, Any] = {}
    parties: dict[str, Any] = {}


class Roster:
    """The members of a federation; `of` and `load` make one.

    Args:
        today: the day for which keys have to be valid.
    """

    __slots__ = ("_members", "_today")

    def __init__(self, members: Iterable[Member], today: Callable[[], Date] = today) -> None:
        self._members = {member.name: member for member in members}
        self._today = today

    @classmethod
    def of(cls, mapping: Mapping[str, Any], today: Callable[[], Date] = today) -> Roster:
        """The roster of a map from member to what a roster file says of it, such as "ed25519:" and base64.

        Raises:
            ConfigError: not a member's name, not a public key, one key for two members, or nobody; names the member.
        """
        return cls(_some(members_of(mapping, "roster", "members"), "roster"), today)

    @classmethod
    def load(cls, path: Path, today: Callable[[], Date] = today) -> Roster:
        """The roster in a TOML file.

        Raises:
            ConfigError: as `of`, or the file is missing, empty or something else; names the file and the key.
        """
        return cls(_some(read_members(read_toml(path), str(path)), str(path)), today)

    @property
    def names(self) -> tuple[str, ...]:
        """The members of all roles, in the order of their names."""
        return tuple(sorted(self._members))

    @property
    def members(self) -> tuple[Member, ...]:
        """The members, in the order of their names."""
        return tuple(self._members[name] for name in self.names)

    def member(self, name: str) -> Member:
        """All that the roster says of a member.

        Raises:
            ProtocolError: it is not on the roster.
        """
        try:
            return self._members[name]
        except KeyError:
            near = difflib.get_close_matches(name, self._members, n=1)
            hint = f"did you mean {near[0]!r}? Otherwise " if near else ""
            raise ProtocolError(
                f"{name!r} is not on the roster; {hint}its operator's public key has to be put there first"
            ) from None

    def role(self, name: str) -> Role:
        """A member's role; raises ProtocolError where it is not on the roster."""
        return self.member(name).role

    def public(self, name: str) -> str:
        """The key that a member signs by, as the file has it; raises KeyError where it is not on the roster."""
        return public_text(self._members[name].keys[0].public)

    def keys(self, name: str) -> tuple[bytes, ...]:
        """The public keys of a member that are valid today; the one that it signs by is the first.

        Raises:
            ProtocolError: it is not on the roster, or all its keys have run out.
        """
        day, member = self._today(), self.member(name)
        valid = tuple(key.public for key in member.keys if key.until is None or day <= key.until)
        if not valid:
            raise ProtocolError(
                f"the key of {name!r} ran out on {member.keys[0].until}; put its new one on the roster:"
                " `fedbus roster add --replace`"
            )
        return valid

    def owner(self, public: str) -> str | None:
        """The member that signs by a key; None where there is none."""
        return next((name for name in self.names if self.public(name) == public), None)

    def verify(self, name: str, signature: bytes, purpose: str, *parts: bytes, role: Role | None = None) -> None:
        """Make sure that a member signed these parts for this purpose.

        Args:
            role: that the member must have; None takes any.

        Raises:
            ProtocolError: the member is not on the roster or has another role, or it is not a signature by a key that
                the roster has for it today.
        """
        found = self.role(name)
        if role is not None and found != role:
            raise ProtocolError(f"the {purpose} of {name} is signed by a {found}, where only a {role} may sign it")
        statement = signing.statement(purpose, parts)
        if not any(signing.is_signed(key, signature, statement) for key in self.keys(name)):
            raise ProtocolError(
                f"the {purpose} of {name} is not signed by the key that the roster has for it: it was changed, "
                f"or {name} has another key by now"
            )


def read_members(fields: Mapping[str, Any], where: str) -> list[Member]:
    """The members in what a roster file says.

    Raises:
        ConfigError: it is no roster; names the file and the key.
    """
    stray = [name for name, value in fields.items() if name not in ("members", "parties") and _is_entry(value)]
    if stray:
        raise ConfigError(f"{where}: {stray[0]}: members go under [members]; write that line above them")
    read = convert(dict(fields), _RosterFile, where)
    if read.members and read.parties:
        raise ConfigError(f"{where}: parties: there is a table [members] too; put all members into that one")
    table = "parties" if read.parties else "members"
    return members_of(read.parties or read.members, where, table)


def _some(members: list[Member], where: str) -> list[Member]:
    if not members:
        raise ConfigError(f"{where}: members: there are none; `fedbus roster add` enters one")
    return members


def _is_entry(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, dict) and "key" in value)
