"""The command `model` reads the models in a party's store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fedbus import models, settings, terminal
from fedbus.cli.app import JsonFile, app, example
from fedbus.cli.reports import check_writable, write

_HEADINGS = ("job", "name", "algorithm", "kept", "rounds")
# Of a list of numbers or names, on a terminal; JSON has all.
_SHOWN = 6
# Lists with a value for each column of a model.
_OF_COLUMNS = ("columns", "weights", "mean", "scale")


@app.command(epilog=example("fedbus model bank.toml", "fedbus model state/bank.db house-prices-7b892ac7faa846dc"))
def model(
    store: Annotated[Path, typer.Argument(help="A party file (TOML), or a store itself.", show_default=False)],
    job: Annotated[str | None, typer.Argument(help="Job id; without one, all models are listed.")] = None,
    json_file: JsonFile = None,
) -> None:
    """Show what a party's store has of a job's model, or list its models, whether the party runs or not.

    In Python, `fedbus.models.read` gives the weights too.
    """
    check_writable(json_file)
    path = store
    if store.suffix == ".toml":
        party = settings.load_party(store)
        path = party.path(party.state)
    found: Any
    if job is None:
        found = [each.describe() for each in models.listed(path)]
        rows = [
            (each["job"], each["name"], each["algorithm"], each["created_at"], str(each["rounds"])) for each in found
        ]
        lines = terminal.table([_HEADINGS, *rows]) if rows else [f"{path} has no models"]
    else:
        found = models.read(path, job).describe()
        recoding = found.get("recoding") or ()
        listed = _by_column(found)
        facts = {name: value for name, value in found.items() if name not in ("recoding", *listed) and _says(value)}
        lines = terminal.table([(name, _short(value)) for name, value in facts.items()])
        lines += _listed(listed) + _recoded(recoding)
    if str(json_file) != "-":
        for line in lines:
            terminal.say(line)
    if json_file is not None:
        write(found if job is not None else {"models": found}, json_file)


def _says(value: Any) -> bool:
    """Return whether a fact is one: a host has no intercept, and most tables no columns that follow from others."""
    return bool(value) or isinstance(value, int | float)


def _by_column(found: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What a model has of each of its columns, the names first; empty where it has no columns."""
    columns = found.get("columns")
    if not isinstance(columns, list) or not columns:
        return {}
    lists = {name: found.get(name) for name in _OF_COLUMNS}
    return {name: value for name, value in lists.items() if isinstance(value, list) and len(value) == len(columns)}


def _listed(by_column: Mapping[str, list[Any]]) -> list[str]:
    """What a model has of each of its columns, a line each."""
    if not by_column:
        return []
    rows = [tuple(map(_short, values)) for values in zip(*by_column.values(), strict=True)]
    return ["", "columns", *(f"  {line}" for line in terminal.table([("column", *list(by_column)[1:]), *rows]))]


def _recoded(recoding: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say what becomes of the columns that are not taken as they are, a line each; empty where all are."""
    told = [
        each
        for each in recoding
        if each["levels"] is not None or each["fill"] is not None or each["indicator"] or each.get("date_unit")
    ]
    if not told:
        return []
    rows: list[tuple[str, ...]] = [(each["name"], _missing(each), *_levels(each)) for each in told]
    headings: tuple[str, ...] = (
        "column",
        "where it is missing",
        "levels, all columns 0 for the first",
        "any other level",
    )
    if any(each.get("date_unit") for each in told):
        headings = (headings[0], "what it is", *headings[1:])
        rows = [(name, _what(each), *rest) for each, (name, *rest) in zip(told, rows, strict=True)]
    return ["", "recoding", *(f"  {line}" for line in terminal.table([headings, *rows]))]


def _what(feature: Mapping[str, Any]) -> str:
    if unit := feature.get("date_unit"):
        return f"date, in {unit} since 1970"
    return "number" if feature["levels"] is None else "text"


def _missing(feature: Mapping[str, Any]) -> str:
    if feature["levels"] is None:
        filled = "refused" if feature["fill"] is None else _short(feature["fill"])
    else:
        filled = "all columns 0" if feature["indicator"] else _other(feature)
    return f"{filled}, and {feature['name']}__missing is 1" if feature["indicator"] else filled


def _levels(feature: Mapping[str, Any]) -> tuple[str, str]:
    """Say which levels a column of text has, and what another one counts as."""
    if feature["levels"] is None:
        return "", ""
    levels = [feature["reference"], *feature["levels"]]
    more = f", … {len(levels)} in all" if len(levels) > _SHOWN else ""
    return ", ".join(levels[:_SHOWN]) + more, _other(feature)


def _other(feature: Mapping[str, Any]) -> str:
    return "other" if feature["other"] else "the average row"


def _short(value: Any) -> str:
    """Return a value on one line, with long lists cut."""
    if isinstance(value, list) and len(value) > _SHOWN:
        return f"[{', '.join(map(_short, value[:_SHOWN]))}, … {len(value)} in all]"
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_short(each)}" for name, each in value.items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)
