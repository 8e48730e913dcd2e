"""The command `plan`: what a job takes, and what each role will learn, before any row is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fedbus import terminal
from fedbus.algorithms import registry
from fedbus.algorithms.fedavg.spec import AverageJob
from fedbus.algorithms.linear.spec import LinearJob
from fedbus.algorithms.vertical import batching
from fedbus.cautions import many_weights
from fedbus.cli.app import JobFile, JsonFile, app, example
from fedbus.cli.checks import hold, notes
from fedbus.cli.display import print_average_plan, print_plan
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
    check_writable(json_file)
    spec = registry.load(job_file)
    sizes, brought = _sizes(columns or [], spec), hold(job_file, spec, party_files or ())
    for line in notes(spec, brought):
        terminal.note(line)
    lengths = {each.party.name: len(each.tables.train) for each in brought}
    held_out = [len(each.tables.test) for each in brought if each.tables.test is not None]
    sizes |= {each.party.name: each.columns for each in brought}
    if isinstance(spec, LinearJob):
        common = min([*lengths.values(), *([rows] if rows else [])], default=None)
        made = _linear(spec, sizes, common, rounds, min([*held_out, *([test_rows] if test_rows else [])], default=0))
        if common and len(brought) < len(spec.parties):
            for line in many_weights(spec, common, spec.trained(sizes)):
                terminal.note(line.removesuffix("."))
        made |= {"rows_at_most": bool(party_files), "rounds_assumed": rounds is None}
    else:
        made = _average(spec, sizes, parameters, {**(dict.fromkeys(spec.parties, rows) if rows else {}), **lengths})
    if str(json_file) != "-":
        (print_plan if isinstance(spec, LinearJob) else print_average_plan)(made)
    if json_file is not None:
        write(made, json_file)


def _linear(
    spec: LinearJob, sizes: dict[str, int], rows: int | None, rounds: int | None, test_rows: int
) -> dict[str, Any]:
    from fedbus.algorithms.linear.plan import plan as make_plan
    from parties.policy import Policy
    from parties.vertical.consent import check_batches

    missing = [party for party in spec.parties if party not in sizes]
    if rows is None or missing:
        raise ConfigError(
            "--rows and --columns PARTY=NUMBER for each party are needed, or a party file for each; "
            f"missing: {', '.join(missing) or 'rows'}"
        )
    features = {party: sizes[party] for party in spec.parties}
    # No party takes part in a job whose rows a round would give away, whatever its policy: better said now.
    smallest = rows // batching.count(rows, spec.params.batch_size)
    check_batches(Policy(min_batch_rows=1), smallest, spec.trained(features), centred=spec.centred)
    return make_plan(spec, rows, features, rounds, test_rows)


def _average(spec: JobSpec, sizes: dict[str, int], parameters: int | None, rows: dict[str, int]) -> dict[str, Any]:
    from fedbus.algorithms.fedavg.plan import average_plan

    assert isinstance(spec, AverageJob)  # noqa: S101  # there are these two
    if not sizes:
        raise ConfigError("--columns PARTY=NUMBER or a party file is needed: the first layer has as many inputs")
    if len(set(sizes.values())) > 1:
        raise ConfigError(
            "the parties have to have the same columns: " + ", ".join(f"{p} {n}" for p, n in sizes.items())
        )
    return average_plan(spec, next(iter(sizes.values())), parameters, rows)


def _sizes(columns: list[str], spec: JobSpec) -> dict[str, int]:
    sizes = {}
    for each in columns:
        name, _, number = each.partition("=")
        if name not in spec.parties:
            raise ConfigError(f"--columns {each}: {name!r} has no part in the job; {nearest(name, spec.parties)}")
        if not number.isdigit() or int(number) < 1:
            raise ConfigError(f"--columns {each}: write it as PARTY=NUMBER")
        sizes[name] = int(number)
    return sizes
