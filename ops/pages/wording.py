"""What a setting may be, in words: its type, its bounds, its default."""

from __future__ import annotations

import enum
import json
from typing import Any

import msgspec
from msgspec import inspect as types

from fedbus.names import NAME
from text import code

_NAME = "a name"
# One, and several.
_WORDS: dict[type, tuple[str, str]] = {
    types.BoolType: ("true or false", "truth values"),
    types.IntType: ("a whole number", "whole numbers"),
    types.FloatType: ("a number", "numbers"),
    types.StrType: ("a string", "strings"),
}


def described(kind: types.Type) -> str:
    """A type and its bounds: "a whole number from 1 to 100"."""
    if isinstance(kind, types.UnionType):
        return " or ".join(described(part) for part in kind.types if not isinstance(part, types.NoneType))
    if isinstance(kind, types.LiteralType):
        return "one of " + ", ".join(code(json.dumps(value)) for value in kind.values)
    if isinstance(kind, types.EnumType):
        return "one of " + ", ".join(code(json.dumps(value)) for value in kind.cls)
    if isinstance(kind, types.StrType) and NAME.pattern in (kind.pattern or ""):
        return _NAME
    if isinstance(kind, types.VarTupleType | types.ListType):
        return f"an array of {_several(kind.item_type)}{_lengths(kind)}"
    if isinstance(kind, types.DictType):
        return f"a table of {_several(kind.value_type)}"
    if isinstance(kind, types.IntType | types.FloatType):
        return _WORDS[type(kind)][0] + _bounds(kind)
    return _WORDS[type(kind)][0]


def default(field: types.Field) -> str:
    """Whether a key is needed, and its default where there is one to show."""
    if field.required:
        return "required"
    made = field.default_factory
    value = field.default if made is msgspec.NODEFAULT else made()
    if value in (None, "", (), {}):
        return "optional"
    return f"default {code(_toml(value))}"


def _several(kind: types.Type) -> str:
    if isinstance(kind, types.StrType) and NAME.pattern in (kind.pattern or ""):
        return "names"
    if isinstance(kind, types.UnionType):
        return ", ".join(_WORDS[type(part)][1] for part in kind.types if type(part) in _WORDS)
    if isinstance(kind, types.VarTupleType | types.ListType):
        return f"arrays of {_several(kind.item_type)}"
    return _WORDS[type(kind)][1]


def _bounds(kind: types.IntType | types.FloatType) -> str:
    least = _bound(kind.ge), _bound(kind.gt)
    most = _bound(kind.le), _bound(kind.lt)
    # Whatever fits 64 bits or a float is no bound that a reader minds.
    words = ""
    if least[0] and most[0]:
        words = f" from {least[0]} to {most[0]}"
    else:
        lower = f"at least {least[0]}" if least[0] else f"above {least[1]}" if least[1] else ""
        upper = f"at most {most[0]}" if most[0] else f"below {most[1]}" if most[1] else ""
        words = " " + " and ".join(part for part in (lower, upper) if part) if lower or upper else ""
    return words + (f", a multiple of {kind.multiple_of}" if kind.multiple_of else "")


def _bound(value: float | None) -> str:
    if value is None or abs(value) >= 2.0**63:
        return ""
    return f"{value:,}" if isinstance(value, int) else _number(value)


def _lengths(kind: Any) -> str:
    least, most = kind.min_length, kind.max_length
    if least and most:
        return f", {least} to {most} of them"
    return f", {least} or more" if least else f", {most} at most" if most else ""


def lengths(kind: Any) -> str:
    """How many a table may be given, "" where nothing is said of that."""
    return _lengths(kind).removeprefix(", ").replace(" of them", "")


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    return f"{value:g}".replace("e+", "e").replace("e0", "e").replace("e-0", "e-")


def _toml(value: Any) -> str:
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float):
        return _number(value).replace(",", "_")
    return json.dumps(value)
