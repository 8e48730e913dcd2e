"""The long-running processes: `fedbus-party` and `fedbus-coordinator`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from fedbus import settings
from fedbus.cli.app import example, run
from fedbus.credentials import Credentials
from fedbus.identity import Role
from fedbus.service import process

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Coordinator file (TOML): name, state, parties, [broker]. Without one: defaults and environment.",
        show_default=False,
    ),
]
UntilEnd = Annotated[bool, typer.Option("--until-end-of-input", help="Stop when standard input ends.", hidden=True)]


def party() -> None:
    """The command `fedbus-party`."""
    run(DAEMONS["fedbus-party"]())


def coordinator() -> None:
    """The command `fedbus-coordinator`."""
    run(DAEMONS["fedbus-coordinator"]())


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

    own = settings.load_coordinator(config)
    if own.identity and own.roster:
        # Known when it starts rather than when a message is due.
        Credentials.load(Role.COORDINATOR, own.path(own.identity), own.path(own.roster), own.name)
    process.run(own, Service, until_end_of_input=until_end_of_input)


def _single(command: Callable[..., None], typed: str) -> typer.Typer:
    single = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="markdown", add_completion=False)
    single.command(epilog=example(typed))(command)
    return single


# By name; made when one is run or described.
DAEMONS: dict[str, Callable[[], typer.Typer]] = {
    "fedbus-party": lambda: _single(_party, "fedbus-party --config bank.toml"),
    "fedbus-coordinator": lambda: _single(_coordinator, "fedbus-coordinator --config coordinator.toml"),
}
