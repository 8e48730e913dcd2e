"""The pages of party files and coordinator files, and that of the environment's variables."""

from __future__ import annotations

import inspect
import re

from docstrings import about
from fedbus import environment
from fedbus.settings import CoordinatorSettings, PartySettings
from parties.policy import Policy
from structures import sections
from text import code, item, page, paragraph, sentence

_FORM = (
    "It is TOML, and is UTF-8, or UTF-16 with a byte order mark. Paths are relative to the file's own folder. Some of"
    " the keys can be given by [the environment](environment.md) instead, which wins."
)
_TABLES = "[tables](../howto/tables.md)"
_VARIABLE = re.compile(r"^(FEDBUS_\w+) +(.*)$")


def render_party() -> str:
    """The page of party files."""
    return page(
        "Party file",
        paragraph(f"{about(PartySettings)} {_FORM} What it can do to the columns of a table is on the page {_TABLES}."),
        *sections(PartySettings, level=2, stands_for={"policy": Policy}),
    )


def render_coordinator() -> str:
    """The page of coordinator files."""
    return page(
        "Coordinator file",
        paragraph(f"{about(CoordinatorSettings)} {_FORM}"),
        *sections(CoordinatorSettings, level=2),
    )


def render_environment() -> str:
    """The page of the environment's variables."""
    head, *_ = inspect.cleandoc(environment.__doc__ or "").split("\n\n")
    return page(
        "Environment variables",
        paragraph(head.split(". ")[0] + "."),
        "\n".join(item(f"{code(name)}: {sentence(text)}") for name, text in _variables().items()),
    )


def _variables() -> dict[str, str]:
    found: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc(environment.__doc__ or "").splitlines():
        if variable := _VARIABLE.match(line):
            name = variable[1]
            found[name] = variable[2]
        elif name and line.startswith(" "):
            found[name] += f" {line.strip()}"
    return found
