"""Commands that need no broker of others: `check`, `plan`, `simulate`, `info`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from fedbus import batching, jobs, settings
from fedbus.cli.app import JobFile, JsonFile, app, check_writable, finish, write
from fedbus.display import Display, print_plan
from fedbus.errors import ConfigError, JobRefused
from fedbus.jobs import AverageJob, JobSpec, LinearJob
from fedbus.schema import nearest
from fedbus.settings import PartySettings

if TYPE_CHECKING:
    from parties.tables import Tables


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
    console = Console()
    spec = jobs.load(job_file)
    names = ", ".join(spec.parties)
    console.print(f"{job_file}: {spec.algorithm} with {names}: sound", highlight=False, soft_wrap=True)
    for file in party_files or ():
        party, own = _own(file, spec)
        _check_policy(file, party, own, spec)
        held_out = f", {len(own.test):,} held out" if own.test else ""
        found = f"{len(own.train):,} rows of {len(own.train.columns)} features{held_out}"
        console.print(f"{file}: {found}: sound", highlight=False, soft_wrap=True)


def _own(file: Path, spec: JobSpec) -> tuple[PartySettings, Tables]:
    """A party of the job and its tables, which have what an aligned part of them needs."""
    from parties import tables
    from parties.data import Scaling

    party = settings.load_party(file)
    if party.name not in spec.parties:
        raise ConfigError(f"{file}: name: {party.name!r} has no part in the job; {nearest(party.name, spec.parties)}")
    own = tables.load(party, spec)
    if isinstance(spec, LinearJob):
        # What is constant in the whole table is so in any part of it.
        Scaling.fit(own.train)
    return party, own


def _check_policy(file: Path, party: PartySettings, own: Tables, spec: JobSpec) -> None:
    """Hold a party's policy against a job, as far as its own rows tell: no more than these can be common."""
    from parties.policy import Policy

    policy, rows = Policy.of(party), len(own.train)
    try:
        policy.check_job(spec)
        if isinstance(spec, AverageJob):
            policy.check_average(spec)
        elif isinstance(spec, LinearJob):
            params = spec.params
            trained = spec.trained({party.name: len(own.train.columns)})
            policy.check_alignment(rows)
            policy.check_batches(rows // batching.count(rows, params.batch_size), trained, params.solver)
    except JobRefused as error:
        raise JobRefused(f"{file}: {error}") from error


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
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds of training; by default 12 of gram, 50 epochs of sgd.")
    ] = None,
    test_rows: Annotated[int, typer.Option(min=0, help="Held-out rows in common.")] = 0,
    json_file: JsonFile = None,
) -> None:
    """Say what a job takes of each role, and what each will learn, before any row is encrypted.

    Seconds are of this machine, on which it measures for about a second.
    """
    from fedbus.planning import plan as make_plan
    from parties.policy import Policy

    check_writable(json_file)
    spec = jobs.load(job_file)
    sizes = _sizes(columns or [], spec)
    for file in party_files or ():
        party, own = _own(file, spec)
        _check_policy(file, party, own, spec)
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
    # No party takes part in a job whose rows a round would give away, whatever its policy: better said now.
    smallest = rows // batching.count(rows, spec.params.batch_size)
    Policy(min_batch_rows=1).check_batches(smallest, spec.trained(features), spec.params.solver)
    made = make_plan(spec, rows, features, rounds, test_rows)
    made |= {"rows_at_most": bool(party_files), "rounds_assumed": rounds is None}
    if json_file is not None:
        write(made, json_file)
    if str(json_file) != "-":
        print_plan(made)


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
    from parties.comparison import compare
    from parties.worker import Worker

    check_writable(json_file)
    roles = simulation.Roles(coordinator=Service, party=Worker, compare=compare)
    with Display(jobs.load(job_file).name) as display:
        report = simulation.run(job_file, party_files, broker.value, roles, display.show, display.note)
    finish(report, json_file)


@app.command()
def identity(
    party_file: Annotated[Path, typer.Argument(help="Party file (TOML), whose `identity` says where the key belongs.")],
) -> None:
    """Make a party's identity where it has none yet, and print its line for the roster.

    The private key stays in the file that the party file's `identity` names. The line goes to the operators of all
    other parties, by a way that the coordinator and the broker have no part in; each puts it into the table [parties]
    of the file that its `roster` names.
    """
    from fedbus.identity import Identity

    party = settings.load_party(party_file)
    if not party.identity:
        raise ConfigError(
            f'{party_file}: identity: missing; add identity = "state/{party.name}.key" and roster = "roster.toml"'
        )
    path = party.path(party.identity)
    own = Identity.load(path) if path.exists() else Identity.create(path)
    sys.stdout.write(f'{party.name} = "{own.public}"\n')


@app.command()
def info() -> None:
    """Say what is installed, and which arithmetic this machine gets and why."""
    from fedbus.info import describe

    for name, fact in describe().items():
        Console().print(f"{name:12}{fact}", highlight=False, soft_wrap=True)
