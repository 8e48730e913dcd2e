"""A simulation is a whole federation on one machine: any job with any party files, on either broker.

In memory all roles run as threads of this process on the in-process broker; on RabbitMQ each is a process of its own,
started as an operator would start it, and the job goes through the queue. Stores are the simulation's own; models of a
job that succeeded are copied into those that the party files name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog

from fedbus import metrics, settings
from fedbus.algorithms import registry
from fedbus.broker.memory.broker import MemoryHub
from fedbus.cli.children import END_SECONDS
from fedbus.cli.introductions import Introduced, client_of, introduce
from fedbus.cli.processes import Note, Running, on_rabbitmq
from fedbus.cli.report import write_report
from fedbus.cli.workplace import Workplace, open_workplace
from fedbus.client import Client, report_of
from fedbus.crypto.engine import Engine
from fedbus.errors import ConfigError, JobFailed
from fedbus.identity import Role
from fedbus.job import JobSpec
from fedbus.messages.control import Event, StateChanged
from fedbus.report import Report
from fedbus.service import process
from fedbus.service.process import Factory, S
from fedbus.settings import CoordinatorSettings, PartySettings
from fedbus.store.sqlite import SqliteStore

log = structlog.get_logger()

# Of the parties: that of this process is for a single one, and would give all one broker user and one port.
ENVIRONMENT = {"FEDBUS_SIMULATION": "true"}

Watch = Callable[[Event], object]


@dataclass(frozen=True, slots=True)
class Roles:
    """How to make each role, and how to compare with the pooled data."""

    coordinator: Factory[CoordinatorSettings]
    party: Factory[PartySettings]
    compare: Callable[[JobSpec, Report, Sequence[PartySettings]], dict[str, Any]]


def usual_roles() -> Roles:
    """Return the roles as they are; this loads them."""
    from coordinator.service import Service
    from parties.side import compare
    from parties.worker import Worker

    return Roles(coordinator=Service, party=Worker, compare=compare)


def run(
    job_file: Path,
    files: Sequence[Path],
    broker: str,
    roles: Roles,
    watch: Watch,
    note: Note = log.info,
    keep: Path | None = None,
) -> Report:
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
    parties = [settings.load_party(file, ENVIRONMENT) for file in files]
    check_complete(job_file, spec, parties)

    def federation(known: Introduced, place: Workplace) -> AbstractContextManager[Running]:
        if broker == "memory":
            return _in_memory(spec, known, place, roles)
        return on_rabbitmq(spec, known, job_file, files, place, note)

    return _run(spec, parties, federation, roles, watch, note, keep)


def run_in_memory(
    spec: JobSpec, parties: Sequence[PartySettings], roles: Roles, watch: Watch, note: Note, keep: Path | None
) -> Report:
    """Run a job that need not be in a file, with all roles as threads of this process; see `run`.

    Args:
        parties: all those of the job; see `check_complete`.
    """

    def federation(known: Introduced, place: Workplace) -> AbstractContextManager[Running]:
        return _in_memory(spec, known, place, roles)

    return _run(spec, parties, federation, roles, watch, note, keep)


def _run(
    spec: JobSpec,
    named: Sequence[PartySettings],
    federation: Callable[[Introduced, Workplace], AbstractContextManager[Running]],
    roles: Roles,
    watch: Watch,
    note: Note,
    keep: Path | None,
) -> Report:
    with open_workplace(keep) as place:
        parties = place.settle(named)
        known = introduce(spec, parties, place.folder)
        with federation(known, place) as (client, submit, check):
            report = _follow(client, submit(), watch, check)
            for party in client.wait_ended(report.job, spec.parties, END_SECONDS):
                log.warning("a party did not enter how the job ended", party=party)
        if report.succeeded:
            warnings = [*report.warnings, *place.hand_out(report.job, named)]
            note("comparing with the same model on the pooled data")
            own = [msgspec.structs.replace(party, state=str(place.store(party.name))) for party in known.parties]
            compared = roles.compare(spec, report, own)
            warnings += compared.get("warnings", [])
            report = report.joined({**compared, "warnings": warnings}).cautioned()
        # Nothing serves these pages any more.
        report = report.without("metrics")
        if keep is not None:
            write_report(report.to_map(), place.folder / "report.json")
    return report


def check_complete(job_file: Path, spec: JobSpec, parties: Sequence[PartySettings], way: str = "by --party") -> None:
    """Raise ConfigError where these are not all parties of the job, or others are among them.

    Args:
        way: in which party files are given, for the error.
    """
    given = [party.name for party in parties]
    for name, place in zip(spec.parties, spec.places, strict=True):
        if name not in given:
            named = f"; given: {', '.join(given)}" if given else ""
            raise ConfigError(f"{job_file}: {place}.party: no party file of {name!r} is given {way}{named}")
    if len(given) > len(spec.parties):
        raise ConfigError(f"{job_file}: has the parties {', '.join(spec.parties)}; given: {', '.join(given)}")


def _follow(client: Client, job: str, watch: Watch, check: Callable[[], None]) -> Report:
    last: Event | None = None
    for last in client.watch(job, check=check):
        watch(last)
    if not isinstance(last, StateChanged):
        raise JobFailed(f"job {job} ended without a state")
    return report_of(job, last)


@contextlib.contextmanager
def _in_memory(spec: JobSpec, known: Introduced, place: Workplace, roles: Roles) -> Iterator[Running]:
    hub = MemoryHub()
    with contextlib.ExitStack() as stack:
        if place.kept:
            stack.enter_context(process.kept_log(place.folder / "simulation.log"))
        page = metrics.Server("127.0.0.1:0")
        stack.callback(page.close)
        engine = Engine(None)
        services: list[process.LongRunning] = []

        def add(factory: Factory[S], config: S, state: Path) -> None:
            store, connection = stack.enter_context(SqliteStore(state)), hub.connect(config.name)
            services.append(factory(config, connection, store, engine, page.url))
            stack.callback(services[-1].join)
            stack.callback(connection.close)

        identity, roster = str(known.coordinator.identity), str(known.coordinator.roster)
        config = CoordinatorSettings(name=spec.coordinator, parties=spec.parties, identity=identity, roster=roster)
        add(roles.coordinator, config, place.store(spec.coordinator))
        for party in known.parties:
            add(roles.party, party, party.path(party.state))
        # All share it: closed while one of them still works, it would be an error that ends the job.
        stack.callback(engine.close)
        stack.callback(_stop, services)
        for service in services:
            service.start()
        # A client leaves a connection open that it did not make.
        broker, by = hub.connect(client_of(spec)), known.client.credentials(Role.CLIENT)
        stack.callback(broker.close)
        client = stack.enter_context(Client(broker, spec.coordinator, credentials=by))
        yield client, lambda: client.submit(spec), lambda: None


def _stop(services: Sequence[process.LongRunning]) -> None:
    """Stop services at the same time: each gives its jobs some seconds to come to rest."""
    with ThreadPoolExecutor(len(services)) as threads:
        for stopped in [threads.submit(service.stop) for service in services]:
            stopped.result()
