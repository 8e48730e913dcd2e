"""What all commands share: the application, its options, how errors and reports leave."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fedbus import __version__, process, signals
from fedbus.errors import ConfigError, FedbusError, JobFailed
from fedbus.jobs import JobState
from fedbus.report import print_report

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


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        Console().print(__version__)
        raise typer.Exit


def run(command: typer.Typer, log_level: str = "info") -> None:
    """Run a command; an error of fedbus becomes a line and its exit status."""
    try:
        signals.wake_main_thread()
        signals.end_on_sigterm()
        process.configure_logging(log_level)
        command()
    except FedbusError as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)


def check_writable(json_file: Path | None) -> None:
    """Before the work, not after it: a report that cannot be written would be lost."""
    if json_file is None or str(json_file) == "-":
        return
    target = json_file if json_file.exists() else json_file.absolute().parent
    if json_file.is_dir() or not os.access(target, os.W_OK):
        raise ConfigError(f"--json: {json_file} cannot be written; does its folder exist?")


def finish(report: dict[str, Any], json_file: Path | None) -> None:
    """Show a report and write it; a job that did not succeed is an error."""
    if json_file is not None:
        write(report, json_file)
    if report["state"] != JobState.SUCCEEDED:
        raise JobFailed(f"job {report['job']} {report['state']}: {report.get('reason', '')}")
    if str(json_file) != "-":
        print_report(report)


def write(report: dict[str, Any], json_file: Path) -> None:
    """Write a report as JSON; - is standard output. Raises ConfigError."""
    text = json.dumps(report, indent=2) + "\n"
    if str(json_file) == "-":
        sys.stdout.write(text)
        return
    try:
        json_file.write_text(text, "utf-8")
    except OSError as error:
        raise ConfigError(f"--json: {json_file} cannot be written: {error.strerror}") from error
