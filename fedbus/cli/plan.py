"""The command `plan`: what a job takes, and what each role will learn, before any row is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedbus import terminal
from fedbus.algorithms import registry
from fedbus.algorithms.base import Sizes
from fedbus.algorithms.facts import Told
from fedbus.cli.app import JobFile, JsonFile, app, example
from fedbus.cli.checks import hold, notes
from fedbus.cli.report import print_facts, print_grid
from fedbus.cli.reports import check_writable, write
from fedbus.errors import ConfigError
from fedbus.job import JobSpec
from fedbus.names import nearest


@app.command(
    epilog=example(
        "fedbus plan job.toml --rows 100000 --columns shop=30 --columns bank=300",
        "fedbus plan job.toml --party shop.toml --party bank.toml --json plan.json",
    )
)
def plan(
    job_file: JobFile,
    rows: Annotated[
        int | None,
        typer.Option(min=1, help="Rows that all parties have in common; with fedavg rows that each party trains on."),
    ] = None,
    columns: Annotated[
        list[str] | None, typer.Option(help="PARTY=NUMBER: the party's features; once for each party.")
    ] = None,
    party_files: Annotated[
        list[Path] | None, typer.Option("--party", help="Party file, whose tables say rows and columns instead.")
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1, help="Rounds of a vertical job; by default 12 of gram, 50 epochs of sgd. A fedavg job names its own."
        ),
    ] = None,
    test_rows: Annotated[int, typer.Option(min=0, help="Held-out rows in common (vertical jobs).")] = 0,
    parameters: Annotated[int | None, typer.Option(min=1, help="Of a network that a factory makes (fedavg).")] = None,
    json_file: JsonFile = None,
) -> None:
    """Say what a job takes, and what each role will learn, before it runs.

    Of a vertical job: seconds, messages and bytes of each role. Seconds are of this machine, on which it measures for
    about a second.

    Of federated averaging (fedavg): bytes of a round, how many parties have to answer, the fixed point of updates; with
    differential privacy, how many rounds the budget allows for the parties' rows and what they spend of it.
    """
    from parties.side import side_of

    check_writable(json_file)
    spec = registry.load(job_file)
    said, brought = _columns(columns or [], spec), hold(job_file, spec, party_files or ())
    sizes = Sizes(
        columns=said | {each.party.name: each.columns for each in brought},
        rows={each.party.name: len(each.tables.train) for each in brought},
        test_rows={each.party.name: len(each.tables.test) for each in brought if each.tables.test is not None},
        rows_said=rows,
        test_rows_said=test_rows,
        rounds=rounds,
        parameters=parameters,
    )
    for line in notes(spec, brought):
        terminal.note(line)
    # No party takes part in a job whose rows a round would give away: better said now.
    side_of(spec).check_sizes(spec, sizes)
    forecast = registry.planning_of(spec).forecast(spec, sizes)
    for line in forecast.notes:
        terminal.note(line)
    if str(json_file) != "-":
        _print(registry.facts_of(spec.algorithm).of_plan(forecast.figures))
    if json_file is not None:
        write(forecast.figures, json_file)


def _print(told: Told) -> None:
    print_facts(told.facts)
    if told.grid is not None:
        print_grid(told.grid)
    for line in told.sentences:
        terminal.say(line)
    for line in told.notes:
        terminal.note(line)


def _columns(columns: list[str], spec: JobSpec) -> dict[str, int]:
    sizes = {}
    for each in columns:
        name, _, number = each.partition("=")
        if name not in spec.parties:
            raise ConfigError(f"--columns {each}: {name!r} has no part in the job; {nearest(name, spec.parties)}")
        if not number.isdigit() or int(number) < 1:
            raise ConfigError(f"--columns {each}: write it as PARTY=NUMBER")
        sizes[name] = int(number)
    return sizes
