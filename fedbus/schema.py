"""TOML and maps become frozen structures here, with errors that name the file, the key and the nearest known key."""

from __future__ import annotations

import codecs
import re
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec

from fedbus.errors import ConfigError
from fedbus.files import reason
from fedbus.names import NAME_IN_WORDS, NAME_RULE, nearest, unknown

S = TypeVar("S", bound=msgspec.Struct)

# A file of settings that is larger is something else.
_MAX_BYTES = 16 * 1024**2
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

# What a file of settings calls the types.
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "object": "a table",
    "array": "an array",
    "datetime": "a date",
    "date": "a date",
    "time": "a time",
}


class _Nothing(msgspec.Struct):
    """A table of which nothing is asked."""


def read_toml(path: Path) -> dict[str, Any]:
    """Return the map in a TOML file.

    Raises:
        ConfigError: no such file, or not TOML; names the file and the line.
    """
    try:
        return tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    except RecursionError:
        raise ConfigError(f"{path}: not valid TOML: it is nested too deeply") from None


def read_text(path: Path) -> str:
    """Return the text of a file of settings: UTF-8, or what an editor on Windows marked with a byte order mark.

    Raises:
        ConfigError: no such file, no text, or too large; names the file, and the remedy where it is the encoding.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {reason(error, path)}") from None
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{path}: is larger than {_MAX_BYTES // 1024**2} MiB; a file of settings is not")
    found = "is UTF-16 without its mark, or no text"
    try:
        text = data.decode("utf-16" if data.startswith(_UTF_16) else "utf-8-sig")
        if "\0" not in text:
            return text
    except UnicodeDecodeError as error:
        found = f"is not UTF-8 text (byte {error.start + 1})"
    # Raised outside the handler, whose error holds all bytes of the file: there may be a password among them.
    raise ConfigError(f"{path}: {found}; save it as UTF-8")


def convert(fields: Any, struct: type[S], where: str, prefix: str = "") -> S:
    """Make a structure of a map.

    Args:
        where: the file, for errors.
        prefix: the keys that lead to this map within the file.

    Raises:
        ConfigError: an unknown key (with the nearest known one), a missing one, or a value of another type or range.
    """
    _check_inner(fields, struct, where, prefix)
    try:
        return msgspec.convert(fields, struct)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        key = prefix + path.rstrip("`").removeprefix("." if not prefix else "")
        if missing := re.fullmatch("Object missing required field `(.*)`", reason):
            reason = f"missing key {missing[1]!r}"
        elif reason.startswith("Expected `object`") and key:
            reason += f"; [{key}] begins it"
        reason = re.sub("`(int|float|str|bool|object|array|datetime|date|time)( \\| null)?`", _in_words, reason)
        if NAME_RULE in reason:
            reason = NAME_IN_WORDS
        raise ConfigError(f"{where}: {key + ': ' if key else ''}{reason}") from error


def check_table(value: Any, where: str, key: str) -> dict[str, Any]:
    """Return a value if it is a table.

    Raises:
        ConfigError: names the file, the key and what it is.
    """
    if isinstance(value, dict):
        return value
    return convert(value, _Nothing, where, key)  # type: ignore[return-value]  # it raises


def _in_words(found: re.Match[str]) -> str:
    return _WORDS[found[1]]


def _check_inner(fields: Any, struct: type[msgspec.Struct], where: str, prefix: str) -> None:
    """Refuse unknown keys and values, and convert the structures within: an error names the innermost place."""
    if not isinstance(fields, dict):
        return
    lead = prefix + "." if prefix else ""
    known = msgspec.structs.fields(struct)
    names = {field.encode_name for field in known}
    for name in fields:
        if name not in names:
            # What a program adds has a name in brackets.
            typed = [each for each in names if not each.startswith("(")]
            raise ConfigError(f"{where}: unknown key {lead + str(name)!r}; {nearest(str(name), typed)}")
    for field in known:
        inner, values = _inner_struct(field.type), fields.get(field.encode_name)
        choices = _choices(field.type)
        if choices and isinstance(values, str) and values not in choices:
            raise ConfigError(f"{where}: {lead}{field.encode_name}: {unknown(values, choices)}")
        if inner is None or values is None:
            continue
        place, holds = lead + field.encode_name, _origin(field.type)
        if holds is dict:
            within = values.items() if isinstance(values, dict) else ()
            parts = {f"{place}.{key}": value for key, value in within}
        elif holds in (tuple, list):
            listed_values = values if isinstance(values, list | tuple) else ()
            parts = {f"{place}[{number}]": value for number, value in enumerate(listed_values)}
        else:
            parts = {place: values}
        for part, value in parts.items():
            convert(value, inner, where, part)


def _choices(annotation: Any) -> tuple[str, ...]:
    """The few texts of which a value is one; none where it may be anything else."""
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return tuple(annotation)
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _origin(annotation: Any) -> Any:
    """What holds the structures of an annotation: dict, tuple, list or something else."""
    origin = get_origin(annotation)
    return _origin(annotation.__origin__) if origin is Annotated else origin


def _inner_struct(annotation: Any) -> type[msgspec.Struct] | None:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _inner_struct(part)
        if found is not None:
            return found
    return None
