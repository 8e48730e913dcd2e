"""TOML and maps to frozen structures, with errors that name the file, the key and the nearest known key."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fedbus.errors import ConfigError

S = TypeVar("S", bound=msgspec.Struct)


def read_toml(path: Path) -> dict[str, Any]:
    """The map in a TOML file.

    Raises:
        ConfigError: no such file, or not TOML; names the file and the line.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def convert(fields: Any, struct: type[S], where: str) -> S:
    """A structure from a map.

    Args:
        where: the file and the section, for errors.

    Raises:
        ConfigError: an unknown key (with the nearest known one), a missing one, or a value of another type or range.
    """
    _refuse_unknown(fields, struct, where)
    try:
        return msgspec.convert(fields, struct)
    except msgspec.ValidationError as error:
        text = str(error)
        reason, _, place = text.partition(" - at `$.")
        key = place.rstrip("`")
        raise ConfigError(f"{where}: {key + ': ' if key else ''}{reason}") from error


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest known one, or all that are known."""
    known = sorted(known)
    match = difflib.get_close_matches(name, known, n=1)
    if match:
        return f"did you mean {match[0]!r}?"
    return "known: " + ", ".join(known)


def _refuse_unknown(fields: Any, struct: type[msgspec.Struct], where: str) -> None:
    if not isinstance(fields, dict):
        return
    known = msgspec.structs.fields(struct)
    names = {field.encode_name for field in known}
    for name in fields:
        if name not in names:
            raise ConfigError(f"{where}: unknown key {name!r}; {nearest(str(name), names)}")
    for field in known:
        inner = _inner_struct(field.type)
        values = fields.get(field.encode_name)
        if inner is None or values is None:
            continue
        if isinstance(values, dict) and _is_map_of(field.type):
            parts = [(f"{field.encode_name}.{key}", value) for key, value in values.items()]
        elif isinstance(values, list | tuple):
            parts = [(f"[{field.encode_name}] number {i + 1}", value) for i, value in enumerate(values)]
        else:
            parts = [(field.encode_name, values)]
        for place, value in parts:
            _refuse_unknown(value, inner, f"{where}: {place}")


def _inner_struct(annotation: Any) -> type[msgspec.Struct] | None:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _inner_struct(part)
        if found is not None:
            return found
    return None


def _is_map_of(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) is dict
