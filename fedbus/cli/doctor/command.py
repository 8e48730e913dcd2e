"""The command `doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedbus import terminal
from fedbus.cli.app import IdentityFile, JsonFile, RosterFile, app, example
from fedbus.cli.doctor import broker, machine, member
from fedbus.cli.doctor.findings import Finding, Findings
from fedbus.cli.reports import check_writable, write
from fedbus.errors import ConfigError


@app.command(
    epilog=example(
        "fedbus doctor bank.toml",
        "FEDBUS_AMQP_URL_FILE=coordinator.url fedbus doctor coordinator.toml",
        "fedbus doctor --json -",
    )
)
def doctor(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="Party file or coordinator file (TOML). Without one, the client of this environment is examined.",
            show_default=False,
        ),
    ] = None,
    json_file: JsonFile = None,
    identity: IdentityFile = None,
    roster: RosterFile = None,
) -> None:
    """Check a member's set-up step by step, and say what to do about what is wrong.

    Its file, its identity and its roster; TLS, the connection, the login, its rights, its queues, a message to the
    broker and back, clocks; its tables, disk, memory and arithmetic. It may be asked while the member's process runs,
    and changes nothing. A warning does not keep jobs from running. With a failure the exit status is that of a command
    that fails by it.
    """
    check_writable(json_file)
    if file is not None and (identity is not None or roster is not None):
        raise ConfigError("--identity, --roster: are a client's; a member with a file names both in it")
    found = Findings()
    subject = member.of_environment(identity, roster, found) if file is None else member.of_file(file, found)
    if subject is not None:
        member.examine_keys(subject, found)
        member.examine_store(subject, found)
        broker.examine(subject, found)
        machine.examine(subject, found)
    if str(json_file) != "-":
        for line in _lines(found.all):
            terminal.say(line)
    if json_file is not None:
        who = (
            {"name": subject.name, "role": subject.role.value} if subject is not None else {"name": None, "role": None}
        )
        write({**who, "sound": not found.failures, "steps": found.to_maps()}, json_file)
    if found.failures:
        terminal.tell(f"error: {_count(len(found.failures))} to be mended, named above as failure", "red")
        raise typer.Exit(found.failures[0].status)


def _lines(findings: list[Finding]) -> list[str]:
    return terminal.table([(each.level.value, each.step, each.text) for each in findings])


def _count(number: int) -> str:
    return "1 fault has" if number == 1 else f"{number} faults have"
