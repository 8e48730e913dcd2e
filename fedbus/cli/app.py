"""All commands share this: the application, its options, and how errors and their exit statuses leave."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fedbus import terminal
from fedbus.errors import FedbusError, ReaderGone
from fedbus.service import process, signals
from fedbus.statuses import Status
from fedbus.version import __version__

app = typer.Typer(
    name="fedbus",
    help="Train one model on the data of several organisations without pooling it. See `fedbus COMMAND --help`.",
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

JobFile = Annotated[Path, typer.Argument(help="Job file (TOML).", show_default=False)]
JobId = Annotated[str, typer.Argument(help="Job id, as `fedbus submit` printed it.", show_default=False)]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", help="Write the report to this file; - for standard output.", show_default=False),
]
IdentityFile = Annotated[
    Path | None,
    typer.Option(
        "--identity", help="This client's key file; the one in FEDBUS_IDENTITY if left out.", show_default=False
    ),
]
RosterFile = Annotated[
    Path | None,
    typer.Option("--roster", help="This client's roster; the one in FEDBUS_ROSTER if left out.", show_default=False),
]


@app.callback(invoke_without_command=True)
def _without_command(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        terminal.say(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        context.get_help()
        raise typer.Exit(Status.CONFIGURATION)


def example(*lines: str) -> str:
    """Return the end of a command's help, which shows how the command is typed."""
    return "Example:\n\n" + "\n\n".join(f"`{line}`" for line in lines)


def run(command: typer.Typer, log_level: str = "info") -> None:
    """Run a command as this process; an error becomes a line on standard error and its exit status."""
    terminal.prepare()
    try:
        process.configure_logging(log_level)
        signals.wake_main_thread()
        signals.end_on_signals()
        status = invoke(command)
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    except FedbusError as error:
        # The log's own settings are wrong.
        status = _failed(error)
    sys.exit(status)


def invoke(command: typer.Typer, arguments: Sequence[str] | None = None) -> int:
    """Run a command with these arguments (None: the process's own). Return its exit status."""
    try:
        status = typer.main.get_command(command)(
            args=None if arguments is None else list(arguments), standalone_mode=False
        )
        terminal.flush()
    except typer.TyperException as error:
        # A wrong command line; the context says of which command.
        context = getattr(error, "ctx", None)
        see = f"; see {context.command_path} --help" if context else ""
        terminal.tell(f"error: {error.format_message().rstrip('.')}{see}", "red")
        return error.exit_code
    except FedbusError as error:
        return _failed(error)
    return status if isinstance(status, int) else Status.DONE


def _failed(error: FedbusError) -> int:
    if not isinstance(error, ReaderGone):
        terminal.tell(f"error: {error}", "red")
    return error.exit_status
