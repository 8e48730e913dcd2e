"""A job's report is shown on a terminal, and written as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedbus import terminal
from fedbus.algorithms import facts, registry
from fedbus.algorithms.facts import Fact, Grid
from fedbus.errors import OutputError
from fedbus.files import reason, write_whole
from fedbus.report import Report


def print_report(report: Report) -> None:
    """Print the report of a job that succeeded on standard output; its `warnings` come first.

    Raises:
        OutputError: it cannot be written.
    """
    told = registry.facts_of(report.algorithm).of_report(report)
    for sentence in report.warnings:
        terminal.say(f"warning: {sentence}")
    print_facts([*told.facts, *_missing(report), *_predictions(report)])
    if told.grid is not None:
        print_grid(told.grid)


def print_facts(told: Sequence[Fact]) -> None:
    """Print names and what is said of them, a line each, on standard output; raise OutputError."""
    width = max(len(fact.name) for fact in told)
    for fact in told:
        bars = facts.curve(fact.losses, terminal.bars())
        terminal.say(f"{fact.name:{width}}  {fact.text}{'  ' if bars else ''}{bars}")


def print_grid(grid: Grid) -> None:
    """Print rows of cells on standard output, indented below a title; raise OutputError."""
    if grid.title:
        terminal.say(grid.title)
    for line in terminal.table(list(grid.rows), numbers=grid.numbers):
        terminal.say(f"  {line}" if grid.title else line)


def _missing(report: Report) -> list[Fact]:
    """Print what parties did about missing cells, where there were any."""
    filled = _counted(report.missing_cells, "cells filled") + _counted(report.left_out_rows, "rows left out")
    told = [Fact("missing cells", ", ".join(filled))] if filled else []
    held_out = _counted(report.test_missing_cells, "cells filled")
    held_out += _counted(report.test_unknown_levels, "cells of levels that its training rows lack")
    told += [Fact("in held-out rows", ", ".join(held_out))] if held_out else []
    by_column = report.missing_by_column or {}
    named = [f"{party} {name} {count:,}" for party, counts in by_column.items() for name, count in counts.items()]
    return told + ([Fact("by column", ", ".join(named))] if named else [])


def _counted(counts: dict[str, int] | None, what: str) -> list[str]:
    return [f"{party} {count:,} {what}" for party, count in (counts or {}).items()]


def _predictions(report: Report) -> list[Fact]:
    """Print where predictions of held-out rows are; those that could not be written are a warning."""
    told = [
        f"{party}: {found.file or 'its log names the file'}"
        for party, found in (report.predictions or {}).items()
        if found.written
    ]
    return [Fact("predictions", ", ".join(told))] if told else []


def write_report(report: dict[str, Any], path: Path) -> None:
    """Write a report, or what else a command has for machines, as JSON.

    Raises:
        OutputError: it cannot be written; a file that was there is as it was.
    """
    try:
        write_whole(path, to_json(report) + "\n")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {reason(error, path)}") from error


def to_json(value: Any) -> str:
    """Return JSON as its standard has it, in which what is no finite number is null."""
    return json.dumps(_finite(value), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
