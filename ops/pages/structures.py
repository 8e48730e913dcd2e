"""Sections of a page for a structure that a TOML file is read into: its keys, and the tables within."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import inspect as types

import wording
from docstrings import about, attribute, attributes
from text import code, heading, item, paragraph, sentence


def sections(
    struct: type[msgspec.Struct],
    *,
    level: int,
    of: str = "",
    known: frozenset[str] = frozenset(),
    stands_for: Mapping[str, type[msgspec.Struct]] | None = None,
) -> list[str]:
    """A structure's keys, then a section for each table within.

    Args:
        level: of the headings of tables.
        of: whose tables they are, where a page has several of one name.
        known: keys that are described elsewhere.
        stands_for: the structures of keys that the type itself leaves open.
    """
    return list(_sections(struct, "", level, of, known, stands_for or {}))


def _sections(
    struct: type[msgspec.Struct],
    place: str,
    level: int,
    of: str,
    known: frozenset[str],
    stands_for: Mapping[str, type[msgspec.Struct]],
) -> Iterator[str]:
    information: Any = types.type_info(struct)
    typed = [
        field
        for field in information.fields
        # What a program adds has a name in brackets.
        if not field.encode_name.startswith("(") and field.encode_name not in known
    ]
    inner = {field.encode_name: _table(field.type, stands_for.get(field.encode_name)) for field in typed}
    keys = [_key(struct, field) for field in typed if inner[field.encode_name] is None]
    if keys:
        yield "\n".join(keys)
    for field in typed:
        table = inner[field.encode_name]
        if table is None:
            continue
        within, form, many = table
        name = f"{place}{field.encode_name}"
        yield heading(level, code(form.format(name)) + (f" of {of}" if of else ""))
        yield from map(paragraph, _about(struct, field, within, many).split("\n\n"))
        yield from _sections(within, f"{name}.", level, of, frozenset(), {})


def _about(struct: type[msgspec.Struct], field: types.Field, within: type[msgspec.Struct], many: str) -> str:
    """What a table is for, and whether and how often it is given."""
    needed = "The table is required." if field.required else "The table may be left out."
    if many:
        needed = f"There is one for each, {many}."
    said = attributes(struct).get(field.name, "")
    return " ".join(part for part in (about(within), sentence(said) if said else "", needed) if part)


def _key(struct: type[msgspec.Struct], field: types.Field) -> str:
    what = f"{wording.described(field.type)}, {wording.default(field)}"
    return item(f"**{code(field.encode_name)}** ({what}). {sentence(attribute(struct, field.name))}")


def _table(kind: types.Type, instead: type[msgspec.Struct] | None) -> tuple[type[msgspec.Struct], str, str] | None:
    """The structure of a table, how TOML begins it, and how many there may be; None where a key is no table."""
    if instead is not None:
        return instead, "[{}]", ""
    if isinstance(kind, types.StructType):
        return kind.cls, "[{}]", ""
    if isinstance(kind, types.UnionType):
        found = [_table(part, None) for part in kind.types]
        return next((each for each in found if each), None)
    if isinstance(kind, types.VarTupleType) and isinstance(kind.item_type, types.StructType):
        return kind.item_type.cls, "[[{}]]", wording.lengths(kind) or "as many as there are"
    if isinstance(kind, types.DictType) and isinstance(kind.value_type, types.StructType):
        return kind.value_type.cls, "[{}.NAME]", ""
    return None
