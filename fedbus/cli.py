"""The command line: `fedbus`, `fedbus-party` and `fedbus-coordinator`. The one place that puts all parts together."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fedbus import __version__, jobs, process, settings
from fedbus.broker.amqp import AmqpBroker
from fedbus.client import CONFIRM_SECONDS, UNKNOWN, Client
from fedbus.display import Display, print_plan, print_report
from fedbus.errors import ConfigError, FedbusError, JobFailed, JobRefused
from fedbus.jobs import JobState
from fedbus.messages import StateChanged
from fedbus.schema import nearest

app = typer.Typer(
    name="fedbus",
    help="Train one model on the data of several organisations without pooling it. See `fedbus COMMAND --help`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

JobFile = Annotated[Path, typer.Argument(help="Job file (TOML).", show_default=False)]
JobId = Annotated[str, typer.Argument(help="Job id, as `fedbus submit` printed it.", show_default=False)]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the report to this file; - for standard output.")]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Coordinator file (TOML): name, state, parties, [broker]. Without one: defaults and environment.",
        show_default=False,
    ),
]
UntilEnd = Annotated[bool, typer.Option("--until-end-of-input", help="Stop when standard input ends.", hidden=True)]


class BrokerKind(StrEnum):
    """Where a simulation's messages go."""

    MEMORY = "memory"
    AMQP = "amqp"


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        Console().print(__version__)
        raise typer.Exit


@app.command()
def submit(
    job_file: JobFile,
    watch: Annotated[bool, typer.Option("--watch", help="Stay until the job has ended, and show its report.")] = False,
    json_file: JsonFile = None,
) -> None:
    """Put a job in the coordinator's queue and print its id.

    The broker is the one in FEDBUS_AMQP_URL.
    """
    _check_writable(json_file)
    spec = jobs.load(job_file)
    with _client(spec.coordinator) as client:
        job = client.submit(spec)
        Console(stderr=watch).print(job, highlight=False)
        if watch or json_file:
            _watch(client, job, json_file)


@app.command()
def watch(job: JobId, json_file: JsonFile = None) -> None:
    """Follow a job until it has ended, then show its report."""
    _check_writable(json_file)
    with _client() as client:
        _watch(client, job, json_file)


@app.command()
def cancel(job: JobId) -> None:
    """End a job on all sides; for who submitted it, and for the coordinator's operators."""
    with _client() as client:
        client.cancel(job)
        for event in client.watch(job, timeout=CONFIRM_SECONDS):
            if not isinstance(event, StateChanged) or event.state == JobState.CANCELLING:
                continue
            if event.state == JobState.CANCELLED:
                Console().print(f"{job}: cancelled", highlight=False)
            elif event.reason or event.state == UNKNOWN or JobState(event.state).final:
                raise JobRefused(f"job {job} is {event.state}; not cancelled: {event.reason or 'it has ended'}")


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
    json_file: JsonFile = None,
) -> None:
    """Say what a job takes of each role, and what each will learn, before any row is encrypted.

    Seconds are of this machine, on which it measures for about a second.
    """
    from fedbus.planning import plan as make_plan
    from parties import tables

    _check_writable(json_file)
    spec = jobs.load(job_file)
    sizes = _sizes(columns or [])
    for file in party_files or ():
        own = tables.load(settings.load_party(file), spec).train
        name = settings.load_party(file).name
        sizes[name] = len(own.columns)
        rows = min(rows or len(own), len(own))
    missing = [party for party in spec.parties if party not in sizes]
    if rows is None or missing:
        raise ConfigError(
            "--rows and --columns PARTY=NUMBER for each party are needed, or a party file for each; "
            f"missing: {', '.join(missing) or 'rows'}"
        )
    made = make_plan(spec, rows, {party: sizes[party] for party in spec.parties}, rounds)
    if json_file is not None:
        _write(made, json_file)
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

    _check_writable(json_file)
    roles = simulation.Roles(coordinator=Service, party=Worker, compare=pooled.compare)
    with Display(jobs.load(job_file).name) as display:
        report = simulation.run(job_file, party_files, broker.value, roles, display.show, display.note)
    _finish(report, json_file)


@app.command()
def info() -> None:
    """Say what is installed, and which arithmetic this machine gets and why."""
    from fedbus.info import describe

    for name, fact in describe().items():
        Console().print(f"{name:12}{fact}", highlight=False, soft_wrap=True)


def main() -> None:
    """The command `fedbus`."""
    _run(app, log_level="warning")


def party() -> None:
    """The command `fedbus-party`."""
    _run(_single(_party))


def coordinator() -> None:
    """The command `fedbus-coordinator`."""
    _run(_single(_coordinator))


def _party(
    config: Annotated[Path, typer.Option("--config", help="Party file (TOML).", show_default=False)],
    until_end_of_input: UntilEnd = False,
) -> None:
    """Serve a party: wait for jobs, take part in those that its policy allows, go on with interrupted ones."""
    from parties.worker import Worker

    process.run(settings.load_party(config), Worker, until_end_of_input=until_end_of_input)


def _coordinator(config: Config = None, until_end_of_input: UntilEnd = False) -> None:
    """Serve the coordinator: take jobs from the queue, hold each job's private key, judge its loss."""
    from coordinator.service import Service

    process.run(settings.load_coordinator(config), Service, until_end_of_input=until_end_of_input)


def _single(command: Callable[..., None]) -> typer.Typer:
    single = typer.Typer(pretty_exceptions_enable=False)
    single.command()(command)
    return single


def _run(command: typer.Typer, log_level: str = "info") -> None:
    try:
        process.configure_logging(log_level)
        command()
    except FedbusError as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)


@contextlib.contextmanager
def _client(name: str = jobs.COORDINATOR) -> Iterator[Client]:
    url = settings.broker_url()
    if not url:
        raise ConfigError("FEDBUS_AMQP_URL: not set; it is the broker's URL, amqp://user:password@host:5672/")
    with contextlib.closing(AmqpBroker(url)) as broker:
        broker.connect()
        with Client(broker, name, verify_sender=settings.verify_sender()) as client:
            yield client


def _watch(client: Client, job: str, json_file: Path | None) -> None:
    report: dict[str, Any] = {}
    with Display(job) as display:
        for event in client.watch(job):
            display.show(event)
            if isinstance(event, StateChanged):
                report = event.report or {"job": job, "state": event.state, "reason": event.reason}
    _finish(report, json_file)


def _check_writable(json_file: Path | None) -> None:
    """Before the work, not after it: a report that cannot be written would be lost."""
    if json_file is None or str(json_file) == "-":
        return
    target = json_file if json_file.exists() else json_file.absolute().parent
    if json_file.is_dir() or not os.access(target, os.W_OK):
        raise ConfigError(f"--json: {json_file} cannot be written; does its folder exist?")


def _finish(report: dict[str, Any], json_file: Path | None) -> None:
    """Show a report and write it; a job that did not succeed is an error."""
    if json_file is not None:
        _write(report, json_file)
    if report["state"] != JobState.SUCCEEDED:
        raise JobFailed(f"job {report['job']} {report['state']}: {report.get('reason', '')}")
    if str(json_file) != "-":
        print_report(report)


def _write(report: dict[str, Any], json_file: Path) -> None:
    text = json.dumps(report, indent=2) + "\n"
    if str(json_file) == "-":
        sys.stdout.write(text)
        return
    try:
        json_file.write_text(text, "utf-8")
    except OSError as error:
        raise ConfigError(f"--json: {json_file} cannot be written: {error.strerror}") from error


if __name__ == "__main__":
    main()
