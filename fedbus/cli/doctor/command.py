"""The command `doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from fedbus import environment, files, terminal
from fedbus.cli.app import IdentityFile, JsonFile, RosterFile, app, example
from fedbus.cli.doctor import broker, machine, member
from fedbus.cli.doctor.findings import Findings
from fedbus.cli.reports import check_writable, write
from fedbus.errors import ConfigError
from fedbus.identity import Role
from fedbus.trial.layout import TrialFolder, load


@app.command(
    epilog=example(
        "fedbus doctor bank.toml",
        "FEDBUS_AMQP_URL_FILE=coordinator.url fedbus doctor coordinator.toml",
        "fedbus doctor trial",
        "fedbus doctor --json -",
    )
)
def doctor(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="Party file or coordinator file (TOML), or the folder of a trial, for all its members. Without one,"
            " the client of this environment is examined.",
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
    if file is not None and _is_folder(file):
        examined = list(_trial(file))
    else:
        found = Findings()
        of_file = None if file is None else member.of_file(file, found)
        subject = member.of_environment(identity, roster, found) if file is None else of_file
        examined = [_examine(subject, found)]
    if str(json_file) != "-":
        for each in examined:
            if len(examined) > 1:
                terminal.say(f"{each.role} {each.name}")
            for line in terminal.table([(one.level.value, one.step, one.text) for one in each.found.all]):
                terminal.say(line)
    failures = [failure for each in examined for failure in each.found.failures]
    if json_file is not None:
        maps = [each.to_map() for each in examined]
        write(maps[0] if len(maps) == 1 else {"sound": not failures, "members": maps}, json_file)
    if failures:
        terminal.tell(f"error: {_count(len(failures))} to be mended, named above as failure", "red")
        raise typer.Exit(failures[0].status)


@dataclass(frozen=True)
class _Examined:
    """What was found of one member; name and role None where its file did not say them."""

    name: str | None
    role: Role | None
    found: Findings

    def to_map(self) -> dict[str, Any]:
        role = None if self.role is None else self.role.value
        return {"name": self.name, "role": role, "sound": not self.found.failures, "steps": self.found.to_maps()}


def _examine(subject: member.Subject | None, found: Findings) -> _Examined:
    if subject is None:
        return _Examined(None, None, found)
    member.examine_keys(subject, found)
    member.examine_store(subject, found)
    broker.examine(subject, found)
    machine.examine(subject, found)
    return _Examined(subject.name, subject.role, found)


def _trial(folder: Path) -> Iterator[_Examined]:
    """Examine all members of a trial, each by its own files alone, whatever this environment says."""
    cast, layout = load(folder), TrialFolder(folder)
    for name, role in cast.roles.items():
        found, variables = Findings(), environment.of_member(layout.own(name, ".url"))
        if role is Role.CLIENT:
            tls = layout.tls_files(name) if cast.tls else {}
            variables |= {f"FEDBUS_AMQP_{key.upper()}": str(path) for key, path in tls.items()}
            subject = member.of_environment(layout.own(name, ".key"), layout.roster(name), found, variables)
        else:
            subject = member.of_file(layout.own(name, ".toml"), found, variables)
        yield replace(_examine(subject, found), name=name, role=role)


def _is_folder(path: Path) -> bool:
    try:
        return files.is_folder(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be looked at: {error.strerror}") from error


def _count(number: int) -> str:
    return "1 fault has" if number == 1 else f"{number} faults have"
