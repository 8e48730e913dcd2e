"""The commands `check`, `simulate` and `info` need no broker of others."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fedbus import terminal
from fedbus.algorithms import registry
from fedbus.cli.app import JobFile, JsonFile, app, example
from fedbus.cli.checks import hold, notes
from fedbus.cli.display import Display
from fedbus.cli.reports import check_writable, finish


class BrokerKind(StrEnum):
    """Where a simulation's messages go."""

    MEMORY = "memory"
    AMQP = "amqp"


@app.command(epilog=example("fedbus check job.toml --party bank.toml"))
def check(
    job_file: JobFile,
    party_files: Annotated[
        list[Path] | None,
        typer.Option("--party", help="A party file to hold against the job; once for each party."),
    ] = None,
) -> None:
    """Validate a job file, and the policies and the data of parties, without running anything.

    With several party files it also compares what these parties have to have alike.
    """
    from parties.side import side_of

    spec = registry.load(job_file)
    brought, side = hold(job_file, spec, party_files or ()), side_of(spec)
    noted = notes(spec, brought) + side.shortfalls(spec, brought)
    names = ", ".join(spec.parties)
    shared, shared_tests = side.in_common(spec, brought), side.in_common(spec, brought, held_out=True)
    terminal.say(f"{job_file}: {spec.algorithm} with {names}: sound")
    for each in brought:
        own = each.tables
        held_out = f", {len(own.test):,} held out" if own.test else ""
        described = f"{len(own.train):,} rows of {each.columns} features{held_out}"
        terminal.say(f"{each.file}: {described}: sound")
    if shared is not None:
        also = f", {shared_tests[0]:,} held out" if shared_tests else ""
        terminal.say(f"in common: {shared[0]:,} rows{also}")
    for line in noted:
        terminal.note(line)


@app.command(epilog=example("fedbus simulate job.toml --party shop.toml --party bank.toml --json report.json"))
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
    keep: Annotated[
        Path | None,
        typer.Option(help="A new folder for the simulation's stores, logs and report, to look at.", show_default=False),
    ] = None,
) -> None:
    """Run any job on this machine, with every party's file, and compare with the same model on the pooled data.

    It works in stores of its own. Each party's model of a job that succeeds is copied into the store that the party's
    file names. The broker in a party file is not used.
    """
    from fedbus.cli import simulation

    check_writable(json_file)
    roles = simulation.usual_roles()
    spec = registry.load(job_file)
    # What can be known before anything is started is told once then, instead of by every role.
    with Display(spec.name) as display:
        hold(job_file, spec, party_files, simulation.ENVIRONMENT, display.note)
        report = simulation.run(job_file, party_files, broker.value, roles, display.show, display.note, keep)
    finish(report, json_file)


@app.command(epilog=example("fedbus info"))
def info() -> None:
    """Say what is installed, and which arithmetic this machine gets and why."""
    from fedbus.cli.info import describe

    for name, fact in describe().items():
        terminal.say(f"{name:12}{fact}")
