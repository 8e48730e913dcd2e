"""Commands that need no broker of others: `check`, `plan`, `simulate`, `info`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedbus import jobs, settings
from fedbus.cli.app import JobFile, JsonFile, app, check_writable, finish, write
from fedbus.display import Display, print_plan
from fedbus.errors import ConfigError
from fedbus.schema import nearest


class BrokerKind(StrEnum):
    """Where a simulation's messages go."""

    MEMORY = "memory"
    AMQP = "amqp"


@app.command()
def check(
    job_file: JobFile,
    party_files: Annotated[
        list[Path] | None,
        typer.Option("--party", help="A party file to hold against the job: its policy and its data."),
    ] = None,
) -> None:
    """Validate a job file, and the policy and the data of parties, without running anything."""
    from parties import tables
    from parties.policy import Policy

    console = Console()
    spec = jobs.load(job_file)
    console.print(
        f"{job_file}: {spec.algorithm} with {', '.join(spec.parties)}: sound", highlight=False, soft_wrap=True
    )
    for file in party_files or ():
        party = settings.load_party(file)
        if party.name not in spec.parties:
            raise ConfigError(
                f"{file}: name: {party.name!r} has no part in the job; {nearest(party.name, spec.parties)}"
            )
        Policy.of(party).check_job(spec.algorithm, spec.params.key_bits, spec.params.insecure_for_tests)
        own = tables.load(party, spec)
        held_out = f", {len(own.test):,} held out" if own.test else ""
        found = f"{len(own.train):,} rows of {len(own.train.columns)} features{held_out}"
        console.print(f"{file}: {found}: sound", highlight=False, soft_wrap=True)


@app.command()
def plan(
    job_file: JobFile,
    rows: Annotated[int | None, typer.Option(min=1, help="Rows that all parties have in common.")] = None,
    columns: Annotated[
        list[str] | None, typer.Option(help="PARTY=NUMBER: the party's features; once for each party.")
    ] = None,
    party_files: Annotated[
        list[Path] | None, typer.Option("--party", help="Party file, whose tables say rows and columns instead.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds of training, as far as you can tell.")] = None,
    test_rows: Annotated[int, typer.Option(min=0, help="Held-out rows in common.")] = 0,
    json_file: JsonFile = None,
) -> None:
    """Say what a job takes of each role, and what each will learn, before any row is encrypted.

    Seconds are of this machine, on which it measures for about a second.
    """
    from fedbus import batching
    from fedbus.planning import plan as make_plan
    from parties import tables
    from parties.policy import Policy

    check_writable(json_file)
    spec = jobs.load(job_file)
    sizes = _sizes(columns or [])
    for file in party_files or ():
        party = settings.load_party(file)
        own = tables.load(party, spec)
        sizes[party.name] = len(own.train.columns)
        rows = min(rows or len(own.train), len(own.train))
        if own.test is not None:
            test_rows = min(test_rows or len(own.test), len(own.test))
    missing = [party for party in spec.parties if party not in sizes]
    if rows is None or missing:
        raise ConfigError(
            "--rows and --columns PARTY=NUMBER for each party are needed, or a party file for each; "
            f"missing: {', '.join(missing) or 'rows'}"
        )
    features = {party: sizes[party] for party in spec.parties}
    # No party takes part in a job whose rows a round would give away: better said now.
    trained = {party: count + (party == spec.guest.party) for party, count in features.items()}
    Policy().check_batches(rows // batching.count(rows, spec.params.batch_size), trained, spec.params.solver)
    made = make_plan(spec, rows, features, rounds, test_rows)
    if json_file is not None:
        write(made, json_file)
    if str(json_file) != "-":
        print_plan(made)


def _sizes(columns: list[str]) -> dict[str, int]:
    sizes = {}
    for each in columns:
        name, _, number = each.partition("=")
        if not number.isdigit() or int(number) < 1:
            raise ConfigError(f"--columns {each}: write it as PARTY=NUMBER")
        sizes[name] = int(number)
    return sizes


@app.command()
def simulate(
    job_file: JobFile,
    party_files: Annotated[list[Path], typer.Option("--party", help="A party file; once for each party of the job.")],
    broker: Annotated[
        BrokerKind,
        typer.Option(
            help="`memory`: threads of this process. `amqp`: a process each, on RabbitMQ: the one in "
            "FEDBUS_AMQP_URL, or a private node that ends with the job."
        ),
    ] = BrokerKind.MEMORY,
    json_file: JsonFile = None,
) -> None:
    """Run any job on this machine, with every party's file, and compare with the same model on the pooled data.

    Stores stay where the party files say; the broker in a party file is not used.
    """
    from coordinator.service import Service
    from fedbus import simulate as simulation
    from parties import pooled
    from parties.worker import Worker

    check_writable(json_file)
    roles = simulation.Roles(coordinator=Service, party=Worker, compare=pooled.compare)
    with Display(jobs.load(job_file).name) as display:
        report = simulation.run(job_file, party_files, broker.value, roles, display.show, display.note)
    finish(report, json_file)


@app.command()
def info() -> None:
    """Say what is installed, and which arithmetic this machine gets and why."""
    from fedbus.info import describe

    for name, fact in describe().items():
        Console().print(f"{name:12}{fact}", highlight=False, soft_wrap=True)
