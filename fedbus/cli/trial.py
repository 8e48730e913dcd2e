"""A federation for a trial on one machine: `new` writes its folder, and `up` runs all that is in it."""

from __future__ import annotations

import contextlib
import queue
import re
import shlex
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from fedbus import environment, settings, terminal
from fedbus.broker.node.lock import locked
from fedbus.broker.node.node import Node
from fedbus.broker.node.server import free_ports
from fedbus.cli.app import app, example
from fedbus.cli.broker import read_definitions
from fedbus.cli.children import MemberProcess, member_process
from fedbus.errors import BrokerError, ConfigError, DataError, FedbusError
from fedbus.files import real, reason
from fedbus.identity import Role
from fedbus.job import COORDINATOR
from fedbus.names import listed
from fedbus.service import process, signals
from fedbus.trial.layout import Cast, TrialFolder, load
from fedbus.trial.making import make
from fedbus.trial.texts import Dataset

_OPTIONS = {Role.COORDINATOR: "--coordinator", Role.PARTY: "--party", Role.CLIENT: "--client"}
_END = "end it first (Ctrl-C, or SIGTERM)"
_FEWEST = 2


@app.command(
    epilog=example(
        "fedbus new trial --party shop --party bank --client olga",
        "fedbus new trial --party shop --party bank --client olga --data shop=products.csv --data bank=users.csv"
        " --label MEDV",
    )
)
def new(
    folder: Annotated[Path, typer.Argument(help="A new folder, which nobody else may look into.", show_default=False)],
    parties: Annotated[list[str], typer.Option("--party", help="A party's name; once for each.", show_default=False)],
    clients: Annotated[
        list[str], typer.Option("--client", help="A user who submits jobs; once for each.", show_default=False)
    ],
    coordinator: Annotated[str, typer.Option(help="The coordinator's name.")] = COORDINATOR,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="PARTY=FILE: a table of a party; once for each. The file stays where it is.", show_default=False
        ),
    ] = None,
    id_column: Annotated[
        str | None,
        typer.Option(
            "--id",
            help="The column of ids in these tables; if left out, the only one that all have.",
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="The column of these tables that job files are to predict.", show_default=False)
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Of 127.0.0.1, for the broker; a free one if left out.", show_default=False
        ),
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Make certificates, and have all connections use them.")] = False,
) -> None:
    """Write a whole federation for a trial on this machine: what each member would have, each in a folder of its own.

    A member has its file, its identity, its roster and its login at the broker; a client also has job files to begin
    with. Passwords and keys are random, and nothing prints them. `fedbus up FOLDER` then runs it.
    """
    cast = Cast(
        coordinator=coordinator,
        parties=tuple(parties),
        clients=tuple(clients),
        port=port or free_ports()[0],
        tls=tls,
    )
    cast.check(_OPTIONS)
    if len(parties) < _FEWEST:
        raise ConfigError("--party: name two at least; a federation of one has nothing to hide")
    tables = _tables(data or [], parties, id_column)
    if label and not tables:
        raise ConfigError(f"--label {label}: has no effect without --data; name the tables, or leave it out")
    if id_column and not tables:
        raise ConfigError(f"--id {id_column}: has no effect without --data; name the tables, or leave it out")
    jobs = make(folder, cast, tables, label or "")
    terminal.say(f"{folder}: a federation of {listed(list(cast.roles))}; {folder / 'README.md'} says how to use it")
    missing = [f"{folder}/{party}/{party}.toml" for party in parties if party not in tables]
    if missing:
        terminal.say(f"write each party's table into {listed(missing)}")
    if jobs and not label:
        terminal.say(f"write the label into {listed([f'{folder}/{clients[0]}/{job}' for job in jobs])}")
    terminal.say(f"start it by `fedbus up {shlex.quote(str(folder))}`")


@app.command(epilog=example("fedbus up trial"))
def up(
    folder: Annotated[Path, typer.Argument(help="Which `fedbus new` made.", show_default=False)],
) -> None:
    """Run the federation of a folder: broker, coordinator and parties, until Ctrl-C or SIGTERM ends all of them.

    It says where each serves, and which one has ended by itself, with the end of its log. What is unfinished goes on at
    the next `fedbus up`.
    """
    cast, layout = load(folder), TrialFolder(folder)
    _check_files(cast, layout)
    loads = read_definitions(layout.definitions)
    certificates = layout.broker_certificates if cast.tls else None
    try:
        with (
            locked(layout.node, _END),
            Node(layout.node, loads=loads, port=cast.port, certificates=certificates) as node,
        ):
            terminal.say(f"broker: serving {node.address}; log {layout.node / 'log' / 'rabbit.log'}")
            _serve(cast, layout, node)
    except OSError as error:
        place = Path(error.filename or layout.node)
        raise ConfigError(f"{place}: cannot be used: {reason(error, place)}") from error
    except KeyboardInterrupt:
        return


def _serve(cast: Cast, layout: TrialFolder, node: Node) -> None:
    """Run the members until somebody asks to end, or nothing is left that runs."""
    ended: queue.SimpleQueue[MemberProcess | BrokerError] = queue.SimpleQueue()
    died: list[str] = []
    with contextlib.ExitStack() as stack:
        running = list(_start(cast, layout, stack))
        for member in running:
            try:
                terminal.say(f"{member.wait_ready()}; log {member.log}")
            except FedbusError as error:
                terminal.tell(f"error: {error}; log {member.log}", "red")
                raise typer.Exit(max(member.process.returncode, 1)) from None
        client = cast.clients[0]
        own = shlex.quote(str(layout.own(client, ".sh")))
        terminal.say(f"all serve, until Ctrl-C; `. {own}` has a shell submit jobs as {client}")
        threading.Thread(target=_await_node, args=(node, ended), daemon=True).start()
        for member in running:
            threading.Thread(target=_await, args=(member, ended), daemon=True).start()
        try:
            while running:
                gone = ended.get()
                if isinstance(gone, BrokerError):
                    raise gone
                running.remove(gone)
                died.append(gone.name)
                _tell_death(gone)
        except KeyboardInterrupt:
            signals.ignore_all()
            terminal.say("stopping; unfinished jobs go on at the next `fedbus up`")
    if died:
        raise FedbusError(f"{listed(died)} had ended before")


def _start(cast: Cast, layout: TrialFolder, stack: contextlib.ExitStack) -> Iterator[MemberProcess]:
    started: list[MemberProcess] = []
    for name in cast.services:
        program = "fedbus-coordinator" if name == cast.coordinator else "fedbus-party"
        command = [*process.script(program), "--config", str(layout.own(name, ".toml"))]
        own = environment.of_member(layout.own(name, ".url"))
        started.append(stack.enter_context(member_process(name, command, own, layout.log(name), apart=True)))
        yield started[-1]
    # All at the same time: each gives its jobs some seconds to come to rest.
    for member in started:
        stack.callback(member.ask_to_end)


def _await(member: MemberProcess, ended: queue.SimpleQueue[MemberProcess | BrokerError]) -> None:
    member.process.wait()
    ended.put(member)


def _await_node(node: Node, ended: queue.SimpleQueue[MemberProcess | BrokerError]) -> None:
    try:
        node.join()
    except BrokerError as error:
        ended.put(error)


def _tell_death(member: MemberProcess) -> None:
    terminal.tell(
        f"error: {member.name} ended with status {member.process.returncode}; its log {member.log} ends", "red"
    )
    for line in member.tail():
        terminal.tell(f"  {line}")
    terminal.note("the others go on; end all by Ctrl-C and start them again to have it back, and its jobs go on")


def _check_files(cast: Cast, layout: TrialFolder) -> None:
    """Read all members' files before anything is started; raise ConfigError with the file and the key."""
    settings.load_coordinator(
        layout.own(cast.coordinator, ".toml"), environment.of_member(layout.own(cast.coordinator, ".url"))
    )
    for party in cast.parties:
        file = layout.own(party, ".toml")
        if not settings.load_party(file, environment.of_member(layout.own(party, ".url"))).datasets:
            terminal.note(f"{file}: names no table yet, so that {party} takes part in no job; a comment shows how")


def _tables(data: Sequence[str], parties: Sequence[str], id_column: str | None) -> dict[str, list[Dataset]]:
    """Return the tables by party; raise ConfigError or DataError where one cannot be told or read."""
    from parties.data.source import open_source

    found: list[tuple[str, Path, tuple[str, ...]]] = []
    for given in data:
        party, sign, name = given.partition("=")
        if not sign or not name:
            raise ConfigError(f"--data {given}: write it as PARTY=FILE, as in {parties[0]}={given or 'table.csv'}")
        if party not in parties:
            raise ConfigError(f"--data {given}: {party!r} is no party here; the parties are {listed(list(parties))}")
        path = real(Path(name))
        try:
            found.append((party, path, open_source(path).names))
        except DataError as error:
            raise DataError(f"--data {given}: {error}") from error
    own_id = _id(found, id_column) if found else ""
    tables: dict[str, list[Dataset]] = {}
    for party, path, columns in found:
        own = tables.setdefault(party, [])
        name = _dataset_name(path)
        if any(other.name == name for other in own):
            raise ConfigError(f"--data {party}={path}: {party} has a table {name!r} already; rename one of the files")
        own.append(Dataset(name, path, own_id, columns))
    return tables


def _id(found: Sequence[tuple[str, Path, tuple[str, ...]]], given: str | None) -> str:
    """Return the column of ids."""
    if given is not None:
        for _, path, columns in found:
            if given not in columns:
                raise ConfigError(f"--id {given}: {path} has no such column; it has {listed(columns)}")
        return given
    first = found[0][2]
    common = [name for name in first if all(name in columns for _, _, columns in found)]
    if len(common) == 1 and len(found) > 1:
        return common[0]
    raise ConfigError(
        f"--id: missing; name the column that identifies a row: {', '.join(common) or 'no column is in all tables'}"
    )


def _dataset_name(path: Path) -> str:
    """Return what a file's table is called in jobs."""
    stem = path.name.removesuffix(".gz").rpartition(".")[0] or path.name
    return re.sub(r"[^a-z0-9_-]+", "-", stem.lower()).strip("-_")[:64] or "table"
