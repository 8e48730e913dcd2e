"""Changes of a roster file: a member enters by the line that its operator sent, and its key is changed, or it leaves.

A change touches the member's own line only, so that comments and the order of lines stay. The file is replaced whole
or not at all.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Any

from fedbus import files
from fedbus.errors import ConfigError, NotFound
from fedbus.members.entries import Key, Member, members_of
from fedbus.members.keys import PRIVATE
from fedbus.members.roster import Date, read_members
from fedbus.schema import read_text, read_toml

_ASK = "ask its operator for the whole line that `fedbus identity` prints"
_MAX_LINE = 1000


class Change(StrEnum):
    """What became of a line that was to be entered."""

    ADDED = "added"
    KNOWN = "is there already"
    REPLACED = "replaced"
    ROTATED = "has two keys now"


def introduced(line: str) -> Member:
    """The member of a line that `fedbus identity` printed, once it is known to be whole.

    Raises:
        ConfigError: it is no such line, or was changed or cut off on its way; nothing of it is repeated but the name.
    """
    if PRIVATE in line:
        raise ConfigError("LINE: a private key, which no other may have; make a new one, this one is known")
    try:
        # A mail may have broken it between its words.
        parsed: dict[str, Any] = tomllib.loads(" ".join(line.split())) if len(line) <= _MAX_LINE else {}
    except tomllib.TOMLDecodeError:
        parsed = {}
    entry = next(iter(parsed.values()), None)
    if len(parsed) != 1 or not isinstance(entry, dict | str):
        raise ConfigError(f"LINE: is not one whole line of a member, or was cut off; {_ASK}")
    if isinstance(entry, str) or not {"key", "role", "proof"} <= set(entry):
        raise ConfigError(f"LINE: has no key, role and proof, so nobody can see whether it came whole; {_ASK}")
    if extra := sorted(set(entry) - {"key", "role", "proof"}):
        raise ConfigError(f"LINE: {extra[0]}: belongs in a roster, not in the line that a member sends; {_ASK}")
    return members_of(parsed, "LINE", "members")[0]


def add(path: Path, member: Member, today: Date, *, replace: bool = False, until: Date | None = None) -> Change:
    """Enter a member into a roster file, which is made where there is none.

    Args:
        member: as `introduced` read it, with one key.
        replace: a member that is there with another key has only the new one from now on.
        until: a member that is there with another key keeps that until this day.

    Raises:
        ConfigError: the file is no roster, the member is there with another key, or it cannot be written.
    """
    text, members = _read(path)
    known = next((each for each in members if each.name == member.name), None)
    own = dataclasses.replace(member.keys[0], since=today)
    entered, change = dataclasses.replace(member, keys=(own,)), Change.ADDED
    if known is not None:
        if known.role == member.role and known.keys[0].public == own.public:
            return Change.KNOWN
        if not replace:
            _check_rotation(path, known, member, until)
            older = _ending(known.keys[0], until)
            entered = dataclasses.replace(member, keys=(own, older))
        change = Change.REPLACED if replace else Change.ROTATED
    _write(path, text, [each for each in members if each is not known], entered, known)
    return change


def remove(path: Path, name: str) -> Member:
    """Take a member off a roster file.

    Raises:
        NotFound: it is not there.
        ConfigError: the file is missing or no roster, or it cannot be written.
    """
    text, members = read_text(path), read_members(read_toml(path), str(path))
    known = next((each for each in members if each.name == name), None)
    if known is None:
        raise NotFound(f"{path}: members: there is no {name!r}; `fedbus roster show {path}` lists all")
    _write(path, text, [each for each in members if each is not known], None, known)
    return known


def _check_rotation(path: Path, known: Member, member: Member, until: Date | None) -> None:
    place = f"{path}: members.{known.name}"
    if known.role != member.role:
        raise ConfigError(f"{place}: is a {known.role} here, and the line is of a {member.role}; --replace changes it")
    if until is None:
        raise ConfigError(
            f"{place}: has another key. If its operator confirms the new one, --until DATE keeps the old one until"
            " then, and --replace drops it at once"
        )
    if any(key.public == member.keys[0].public for key in known.keys):
        raise ConfigError(f"{place}: this is the key that it had before; --replace makes it the only one")


def _ending(key: Key, until: Date | None) -> Key:
    """A key that ends on a day, or before, where it does so already."""
    return dataclasses.replace(key, until=min((day for day in (key.until, until) if day), default=None))


def _read(path: Path) -> tuple[str, list[Member]]:
    try:
        there = files.exists(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    return (read_text(path), read_members(read_toml(path), str(path))) if there else ("", [])


def _write(path: Path, text: str, others: list[Member], entered: Member | None, known: Member | None) -> None:
    changed = _changed(path, text, entered, known)
    expected = {member.name: member for member in (*others, *([entered] if entered else ()))}
    try:
        found = {member.name: member for member in read_members(tomllib.loads(changed), str(path))}
        sound = found == expected
    except (tomllib.TOMLDecodeError, ConfigError):
        sound = False
    if not sound:
        # A line below another table, for example, or a member that is a table of its own.
        raise ConfigError(
            f"{path}: is laid out in another way than `fedbus roster` can change; put each member on a line of its own"
            " below [members], and nothing else below them"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_whole(path, changed)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {files.reason(error, path)}") from error


def _changed(path: Path, text: str, entered: Member | None, known: Member | None) -> str:
    # Comments may hold what other programs take for the end of a line.
    lines = text.removesuffix("\n").split("\n") if text else []
    if known is not None:
        pattern = re.compile(rf"\s*[\"']?{re.escape(known.name)}[\"']?\s*=")
        places = [place for place, line in enumerate(lines) if pattern.match(line)]
        if len(places) != 1:
            raise ConfigError(f"{path}: members.{known.name}: has no line of its own; write it as one line")
        lines[places[0] : places[0] + 1] = [entered.line()] if entered else []
    elif entered is not None:
        table = re.compile(r"\s*\[\s*(members|parties)\s*\]")
        if not any(table.match(line) for line in lines):
            lines.append("[members]")
        lines.append(entered.line())
    return "\n".join(lines) + "\n"
