"""Commands that need no broker of others: `check`, `simulate`, `identity`, `info`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from fedbus import batching, jobs, settings
from fedbus.cli.app import JobFile, JsonFile, app, check_writable, finish
from fedbus.display import Display
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
        party, own = own_tables(file, spec)
        check_policy(file, party, own, spec)
        held_out = f", {len(own.test):,} held out" if own.test else ""
        found = f"{len(own.train):,} rows of {len(own.train.columns)} features{held_out}"
        console.print(f"{file}: {found}: sound", highlight=False, soft_wrap=True)


def own_tables(file: Path, spec: JobSpec) -> tuple[PartySettings, Tables]:
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


def check_policy(file: Path, party: PartySettings, own: Tables, spec: JobSpec) -> None:
    """Hold a party's policy against a job, as far as its own rows tell: no more than these can be common."""
    from parties.policy import Policy

    policy, rows = Policy.of(party), len(own.train)
    try:
        policy.check_job(spec)
        if isinstance(spec, AverageJob):
            policy.check_average(spec)
            policy.check_rows(rows)
            _check_average(party, own, spec)
        elif isinstance(spec, LinearJob):
            params = spec.params
            trained = spec.trained({party.name: len(own.train.columns)})
            policy.check_alignment(rows)
            policy.check_batches(rows // batching.count(rows, params.batch_size), trained, params.solver)
    except JobRefused as error:
        raise JobRefused(f"{file}: {error}") from error


def _check_average(party: PartySettings, own: Tables, spec: AverageJob) -> None:
    """Make the job's network for a party's rows, and hold its identity against its roster where it has both."""
    from parties.local import Local
    from parties.trust import Trust

    Local(spec, own, party.name, party.processes).describe()
    unknown = [name for name in spec.data.as_is if name not in own.train.columns]
    if unknown:
        raise JobRefused(f"data.as_is: there is no column {unknown[0]!r}")
    if spec.params.aggregation == "plain":
        return
    if party.identity and party.roster:
        Trust.of(party, spec.parties)
    else:
        Console(stderr=True).print(
            f"{party.name} has no identity or no roster, which a simulation makes up and nothing else does",
            style="yellow", markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip


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
