"""A whole federation on one machine: any job with any party files, on either broker.

In memory all roles run as threads of this process on the in-process broker; on RabbitMQ each is a process of its own,
started as an operator would start it, and the job goes through the queue. Stores are the simulation's own; models of a
job that succeeded are copied into those that the party files name.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec
import structlog

from fedbus import environment, metrics, settings
from fedbus.algorithms import registry
from fedbus.broker.memory.broker import MemoryHub
from fedbus.broker.node.node import Node
from fedbus.broker.rabbitmq.broker import AmqpBroker
from fedbus.cautions import caution
from fedbus.cli.report import write_report
from fedbus.cli.workplace import Workplace, open_workplace
from fedbus.client import Client
from fedbus.crypto.engine import Engine
from fedbus.errors import ConfigError, FedbusError, JobFailed
from fedbus.identity import Identity
from fedbus.job import JobSpec
from fedbus.messages.control import Event, StateChanged
from fedbus.service import process
from fedbus.service.process import Factory, S
from fedbus.settings import CoordinatorSettings, PartySettings
from fedbus.store.sqlite import SqliteStore

log = structlog.get_logger()

# Of the parties: that of this process is for a single one, and would give all one broker user and one port.
ENVIRONMENT = {"FEDBUS_SIMULATION": "true"}

_CLIENT = "client"
_END_SECONDS = 10.0
_ROSTER = "roster.toml"
_TRUST = ("identity", "roster")

Watch = Callable[[Event], None]
Note = Callable[[str], object]
Submit = Callable[[Path], str]
Check = Callable[[], None]
Running = tuple[Client, Submit, Check]


@dataclass(frozen=True, slots=True)
class Roles:
    """What this package may not import: how to make each role, and how to compare with the pooled data."""

    coordinator: Factory[CoordinatorSettings]
    party: Factory[PartySettings]
    compare: Callable[[JobSpec, str, Sequence[PartySettings]], dict[str, Any]]


def run(
    job_file: Path,
    files: Sequence[Path],
    broker: str,
    roles: Roles,
    watch: Watch,
    note: Note = log.info,
    keep: Path | None = None,
) -> dict[str, Any]:
    """Run a job to its end and compare its model with the same model of the pooled data.

    Args:
        files: a party file for each party of the job.
        broker: "memory" or "amqp".
        watch: called with each event.
        note: called with what is under way where no event says so.
        keep: a folder for stores, logs and the report, which stay there; a temporary one where absent.

    Returns:
        The job's report; where the job failed, its state and reason.

    Raises:
        ConfigError: a wrong job file, party files that do not fit the job, or no folder to work in.
        StoreError: what a party file names as its store is none.
        BrokerError: RabbitMQ cannot be started or reached.
        OutputError: the report cannot be written into `keep`.
    """
    spec = registry.load(job_file)
    named = _parties(job_file, spec, files)
    with open_workplace(keep) as place:
        parties = place.settle(named)
        if spec.needs_identities:
            parties = introduce(parties, place.folder)
        if broker == "memory":
            federation = _in_memory(spec, parties, place, roles)
        else:
            federation = _on_rabbitmq(spec, parties, files, place, note)
        with federation as (client, submit, check):
            report = _follow(client, submit(job_file), watch, check)
            for party in client.wait_ended(report["job"], spec.parties, _END_SECONDS):
                log.warning("a party did not enter how the job ended", party=party)
        if report["state"] == "succeeded":
            report.setdefault("warnings", []).extend(place.hand_out(report["job"], named))
            note("comparing with the same model on the pooled data")
            own = [msgspec.structs.replace(party, state=str(place.store(party.name))) for party in parties]
            compared = roles.compare(spec, report["job"], own)
            report["warnings"] += compared.pop("warnings", [])
            report.update(compared)
            if any(rounds < report["rounds"] for rounds in report.get("took_part", {}).values()):
                # Plain averaging of all parties is another course then.
                report.pop("max_weight_difference", None)
            caution(report)
        # Nothing serves these pages any more.
        report.pop("metrics", None)
        if keep is not None:
            write_report(report, place.folder / "report.json")
    return report


def _parties(job_file: Path, spec: JobSpec, files: Sequence[Path]) -> list[PartySettings]:
    parties = [settings.load_party(file, ENVIRONMENT) for file in files]
    given = [party.name for party in parties]
    for name, place in zip(spec.parties, spec.places, strict=True):
        if name not in given:
            named = f"; given: {', '.join(given)}" if given else ""
            raise ConfigError(f"{job_file}: {place}.party: no party file of {name!r} is given by --party{named}")
    if len(given) > len(spec.parties):
        raise ConfigError(f"{job_file}: has the parties {', '.join(spec.parties)}; given: {', '.join(given)}")
    return parties


def introduce(parties: Sequence[PartySettings], folder: Path) -> list[PartySettings]:
    """Give the parties identities for this job, and the roster of them, unless all have their own."""
    if all(party.identity and party.roster for party in parties):
        return list(parties)
    lines, introduced = ["[parties]"], []
    for party in parties:
        file = folder / f"{party.name}.key"
        lines.append(f'{party.name} = "{Identity.create(file).public}"')
        introduced.append(msgspec.structs.replace(party, identity=str(file), roster=str(folder / _ROSTER)))
    (folder / _ROSTER).write_text("\n".join(lines) + "\n", "utf-8")
    return introduced


def _follow(client: Client, job: str, watch: Watch, check: Check) -> dict[str, Any]:
    last: Event | None = None
    for last in client.watch(job, check=check):
        watch(last)
    if not isinstance(last, StateChanged):
        raise JobFailed(f"job {job} ended without a state")
    return last.report or {"job": job, "state": last.state, "reason": last.reason}


@contextlib.contextmanager
def _in_memory(spec: JobSpec, parties: Sequence[PartySettings], place: Workplace, roles: Roles) -> Iterator[Running]:
    hub = MemoryHub()
    with contextlib.ExitStack() as stack:
        if place.kept:
            stack.enter_context(process.kept_log(place.folder / "simulation.log"))
        page = metrics.Server("127.0.0.1:0")
        stack.callback(page.close)
        engine = Engine(None)
        services: list[process.Service] = []

        def add(factory: Factory[S], config: S, state: Path) -> None:
            store, connection = stack.enter_context(SqliteStore(state)), hub.connect(config.name)
            services.append(factory(config, connection, store, engine, page.url))
            stack.callback(services[-1].join)
            stack.callback(connection.close)

        config = CoordinatorSettings(name=spec.coordinator, parties=spec.parties)
        add(roles.coordinator, config, place.store(spec.coordinator))
        for party in parties:
            add(roles.party, party, party.path(party.state))
        # All share it: closed while one of them still works, it would be an error that ends the job.
        stack.callback(engine.close)
        stack.callback(_stop, services)
        for service in services:
            service.start()
        client = stack.enter_context(Client(hub.connect(_CLIENT), spec.coordinator))
        yield client, lambda job_file: client.submit(registry.load(job_file)), lambda: None


def _stop(services: Sequence[process.Service]) -> None:
    """At the same time: each gives its jobs some seconds to come to rest."""
    with ThreadPoolExecutor(len(services)) as threads:
        for stopped in [threads.submit(service.stop) for service in services]:
            stopped.result()


@contextlib.contextmanager
def _on_rabbitmq(
    spec: JobSpec, parties: Sequence[PartySettings], files: Sequence[Path], place: Workplace, note: Note
) -> Iterator[Running]:
    folder = place.folder
    with contextlib.ExitStack() as stack:
        urls = stack.enter_context(_broker(spec, note))
        # First of all: processes wait for a broker for ever, a simulation should not.
        tls = environment.broker_tls(environment.with_broker(urls[_CLIENT], os.environ))
        broker = AmqpBroker(urls[_CLIENT], tls=tls)
        stack.callback(broker.close)
        broker.connect()
        config = folder / "coordinator.toml"
        names = ", ".join(f'"{party}"' for party in spec.parties)
        config.write_text(f'name = "{spec.coordinator}"\nparties = [{names}]\n', "utf-8")
        commands = {spec.coordinator: [*process.script("fedbus-coordinator"), "--config", str(config)]}
        own = {name: {"FEDBUS_STATE": str(place.store(name))} for name in spec.participants}
        for party, file in zip(parties, files, strict=True):
            commands[party.name] = [*process.script("fedbus-party"), "--config", str(file)]
            if party.identity and party.roster:
                own[party.name] |= {f"FEDBUS_{key.upper()}": str(party.path(getattr(party, key))) for key in _TRUST}
        running = {
            name: stack.enter_context(_process(name, command, urls, folder, own[name]))
            for name, command in commands.items()
        }
        note(f"starting a process each for {', '.join(running)}")
        for name, child in running.items():
            _wait_ready(name, child, folder)
        client = stack.enter_context(Client(broker, spec.coordinator, verify_sender=len(set(urls.values())) > 1))

        def check() -> None:
            for name, child in running.items():
                if child.poll() is not None:
                    raise FedbusError(f"{name} ended with status {child.returncode}: " + _tail(name, folder))

        yield client, lambda job_file: _submit(job_file, urls[_CLIENT]), check


@contextlib.contextmanager
def _broker(spec: JobSpec, note: Note) -> Iterator[dict[str, str]]:
    """URLs by user: of the broker in the environment, whose one user all share, or of a private node."""
    users = (spec.coordinator, *spec.parties, _CLIENT)
    if url := environment.broker_url():
        yield dict.fromkeys(users, url)
        return
    roles = {spec.coordinator: "coordinator", **dict.fromkeys(spec.parties, "party"), _CLIENT: "client"}
    note("starting a private RabbitMQ node")
    with Node(users=roles) as node:
        yield {user: node.url(user) for user in users}


@contextlib.contextmanager
def _process(
    name: str, command: list[str], urls: dict[str, str], folder: Path, own: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    # A shared user cannot vouch for a sender's name.
    verify = "false" if len(set(urls.values())) == 1 else "true"
    given = {**environment.with_broker(urls[name], os.environ), "FEDBUS_VERIFY_SENDER": verify}
    given |= {"FEDBUS_METRICS_ADDRESS": "127.0.0.1:0", "FEDBUS_SIMULATION": "true", **own}
    with (folder / f"{name}.log").open("w", encoding="utf-8") as log:
        child = subprocess.Popen(  # noqa: S603  # our own scripts
            [*command, "--until-end-of-input"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=given,
        )  # fmt: skip
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        for pipe in (child.stdin, child.stdout):
            _close(pipe)


def _submit(job_file: Path, url: str) -> str:
    done = subprocess.run(  # noqa: S603  # our own script
        [*process.script("fedbus"), "submit", str(job_file)],
        env=environment.with_broker(url, os.environ), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise FedbusError(f"the job could not be submitted: {done.stderr.strip()}")
    return done.stdout.strip()


def _wait_ready(name: str, child: subprocess.Popen[str], folder: Path) -> None:
    assert child.stdout is not None  # noqa: S101  # it is a pipe
    if not child.stdout.readline():
        child.wait()
        raise FedbusError(f"{name} did not start: " + _tail(name, folder))


def _tail(name: str, folder: Path) -> str:
    """The last lines of a process's log."""
    return " / ".join((folder / f"{name}.log").read_text("utf-8").strip().splitlines()[-5:])


def _close(pipe: IO[str] | None) -> None:
    if pipe is not None:
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
