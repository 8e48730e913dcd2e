"""What docstrings say of a class and of its fields."""

from __future__ import annotations

import inspect
import re

_ENTRY = re.compile(r"^ {4}(?P<names>\w+(?:, \w+)*): (?P<text>.*)$")
_SECTION = re.compile(r"^(Attributes|Args|Returns|Raises):$")


class Undocumented(Exception):
    """A field of which no docstring says anything."""


def about(kind: type) -> str:
    """What a docstring says before its sections, paragraphs apart by an empty line."""
    paragraphs: list[str] = []
    for block in inspect.cleandoc(kind.__doc__ or "").split("\n\n"):
        if _SECTION.match(block.splitlines()[0] if block else ""):
            break
        paragraphs.append(" ".join(block.split()))
    return "\n\n".join(paragraphs)


def attributes(kind: type) -> dict[str, str]:
    """The text of each name under `Attributes:`, those of base classes too."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        found |= _own_attributes(each)
    return found


def attribute(kind: type, name: str) -> str:
    """What is said of one field.

    Raises:
        Undocumented: nothing; names the class and the field.
    """
    try:
        return attributes(kind)[name]
    except KeyError:
        raise Undocumented(
            f"{kind.__module__}.{kind.__qualname__}: its docstring has no `{name}:` under `Attributes:`; add a sentence"
            " that tells what the key does"
        ) from None


def _own_attributes(kind: type) -> dict[str, str]:
    found: dict[str, str] = {}
    names: list[str] = []
    within = False
    for line in inspect.cleandoc(kind.__dict__.get("__doc__") or "").splitlines():
        if section := _SECTION.match(line):
            within, names = section[1] == "Attributes", []
        elif within and (entry := _ENTRY.match(line)):
            names = entry["names"].split(", ")
            found |= dict.fromkeys(names, entry["text"])
        elif within and line.startswith(" " * 8):
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found
