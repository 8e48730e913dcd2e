"""The page of the command line: every command, its arguments and options, as `--help` has them."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer

from fedbus.cli import app
from fedbus.cli.daemons import DAEMONS
from text import code, heading, item, page, paragraph, sentence

_ABOUT = (
    "What was asked for is on standard output, as plain text that is never wrapped or coloured; notes and errors are on"
    " standard error, an error as one line that begins with `error:`. What a command's end tells is in"
    " [exit statuses](exit-statuses.md), what the environment can say in [environment variables](environment.md)."
)


def render() -> str:
    """The page."""
    blocks = [paragraph(_ABOUT)]
    group: Any = typer.main.get_command(app)
    blocks += _commands("fedbus", group)
    for name, daemon in DAEMONS.items():
        blocks += _command(name, typer.main.get_command(daemon()))
    return page("Commands", *blocks)


def _commands(name: str, group: Any) -> Iterator[str]:
    """Return the lines of every command of a group, and of the groups within."""
    for own, command in group.commands.items():
        within = f"{name} {own}"
        yield from _commands(within, command) if hasattr(command, "commands") else _command(within, command)


def _command(name: str, command: Any) -> Iterator[str]:
    shown = [each for each in command.params if not getattr(each, "hidden", False) and each.name != "help"]
    arguments = [each for each in shown if each.param_type_name == "argument"]
    options = [each for each in shown if each.param_type_name == "option"]
    yield heading(2, code(name))
    words = [name, *(_argument(each) for each in arguments), *(["[OPTIONS]"] if options else [])]
    yield "\n".join(("```text", " ".join(words), "```"))
    yield from (paragraph(block) for block in (command.help or "").split("\n\n"))
    listed = [item(f"{code(each.name.upper())}: {_said(each)}") for each in arguments]
    listed += [item(f"{code(_option(each))}: {_said(each)}") for each in options]
    yield "\n".join(listed)
    yield from _examples(command.epilog or "")


def _argument(parameter: Any) -> str:
    name = parameter.name.upper()
    return name if parameter.required else f"[{name}]"


def _option(parameter: Any) -> str:
    return parameter.opts[0] if parameter.is_flag else f"{parameter.opts[0]} {_value(parameter)}"


def _value(parameter: Any) -> str:
    """What an option takes: a few words, or of what kind it is."""
    annotation = parameter.type_descriptor.annotation
    kind = next(iter(get_args(annotation)), annotation)
    if issubclass(kind, enum.Enum):
        return "|".join(choice.value for choice in kind)
    if issubclass(kind, Path):
        return "FOLDER" if re.search(r"\bfolder\b", parameter.help, re.IGNORECASE) else "FILE"
    return "NUMBER" if issubclass(kind, int) else "TEXT"


def _said(parameter: Any) -> str:
    text = sentence(parameter.help or "")
    notes = ["required"] if parameter.required and parameter.param_type_name == "option" else []
    if parameter.multiple:
        notes.append("may be given several times")
    if not getattr(parameter, "is_flag", False) and parameter.default not in (None, (), []):
        notes.append(f"default {code(getattr(parameter.default, 'value', parameter.default))}")
    return f"{text} {sentence('; '.join(notes))}" if notes else text


def _examples(epilog: str) -> Iterator[str]:
    typed = re.findall(r"^`(.*)`$", epilog, re.MULTILINE)
    if typed:
        yield "\n".join(("```sh", *(_broken(line) for line in typed), "```"))


def _broken(line: str) -> str:
    """A command as a shell takes it over several lines, where one is too long."""
    return line if len(line) < 118 else re.sub(r" (--\S+ \S+ > | > )", r" \\\n    \1", line, count=1)
