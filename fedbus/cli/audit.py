"""`fedbus audit`: what a party decided and what it sent, from its store, whether the party runs or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fedbus import audit as log
from fedbus import files, settings, terminal
from fedbus.audit import Head, Record
from fedbus.cli.app import JsonFile, app, example
from fedbus.cli.reports import check_writable, write
from fedbus.errors import AuditBroken, ConfigError
from fedbus.identity import Identity, Roster
from fedbus.members.keys import public_text
from fedbus.settings import PartySettings
from fedbus.statuses import Status
from fedbus.store.reader import Reader

_HEADINGS = ("number", "at", "event", "job", "what")
_APART = ("number", "at", "event", "job")

audit = typer.Typer(
    help="A party's audit log: every decision about a job, and every message that it sent in one.",
    rich_markup_mode="markdown",
)
app.add_typer(audit, name="audit")

PartyFile = Annotated[Path, typer.Argument(metavar="PARTYFILE", help="Party file (TOML).", show_default=False)]


@audit.callback(invoke_without_command=True)
def _without_command(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        context.get_help()
        raise typer.Exit(Status.CONFIGURATION)


@audit.command(epilog=example("fedbus audit show bank.toml", "fedbus audit show bank.toml --job JOB --json -"))
def show(
    file: PartyFile,
    job: Annotated[str | None, typer.Option(help="Only what is of this job.", show_default=False)] = None,
    json_file: JsonFile = None,
) -> None:
    """List the records of a party's audit log, oldest first. They are not verified; `fedbus audit verify` does that."""
    check_writable(json_file)
    _, records, _ = _read(file)
    found = [fields for record in records if (fields := record.fields) and job in (None, fields.get("job"))]
    if str(json_file) != "-":
        rows = [_row(fields) for fields in found]
        for line in terminal.table([_HEADINGS, *rows]) if rows else ["no records"]:
            terminal.say(line)
    if json_file is not None:
        write({"records": found}, json_file)


@audit.command(
    epilog=example("fedbus audit verify bank.toml", "fedbus audit verify bank.toml --against bank-june.jsonl --json -")
)
def verify(
    file: PartyFile,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="EXPORT",
            help="An earlier export, with which the log has to begin. It shows an end that was cut off or rewritten.",
            show_default=False,
        ),
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Say whether a party's audit log is as it was written: nothing changed, removed, added, moved, or cut off.

    Exit status 7 where it is not; the line names the first record that is wrong. What was cut off together with its
    signatures, by somebody who can write the store, only an earlier export shows.
    """
    check_writable(json_file)
    party, records, head = _read(file)
    try:
        verdict = log.verify(records, head, party.name, _keys(party))
        if against is not None:
            log.check_extends(records, log.read_export(against))
    except AuditBroken as error:
        raise AuditBroken(f"{party.path(party.state)}: the audit log is not what was written: {error}") from None
    if str(json_file) != "-":
        terminal.say(f"{verdict.records} records, as they were written")
        terminal.say(f"{verdict.signatures} signatures, which reach up to record {verdict.signed}")
        if against is not None:
            terminal.say(f"the log begins with what is in {against}")
    if verdict.unsigned_days:
        terminal.note(f"no signature reaches what was entered on {', '.join(verdict.unsigned_days)}")
    if json_file is not None:
        write(verdict.to_map(), json_file)


@audit.command(epilog=example("fedbus audit export bank.toml bank-june.jsonl"))
def export(
    file: PartyFile,
    target: Annotated[Path, typer.Argument(metavar="FILE", help="Is written, one record a line.", show_default=False)],
) -> None:
    """Write a party's audit log to a file of JSON lines, to be kept elsewhere for `fedbus audit verify --against`."""
    _, records, _ = _read(file)
    try:
        files.write_whole(target, "".join(f"{line}\n" for line in log.to_lines(records)), mode=0o600)
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written: {files.reason(error, target)}") from None
    terminal.say(f"{target}: {len(records)} records")


def _read(file: Path) -> tuple[PartySettings, Sequence[Record], Head]:
    party = settings.load_party(file)
    with Reader(party.path(party.state)) as reader:
        records, head = reader.audit()
    return party, records, head


def _keys(party: PartySettings) -> set[str]:
    """The keys by which a party may have signed: its own, and those that its roster has for it."""
    keys = {Identity.load(party.path(party.identity)).public} if party.identity else set()
    if party.roster:
        roster = Roster.load(party.path(party.roster))
        keys |= {
            public_text(key.public) for member in roster.members if member.name == party.name for key in member.keys
        }
    return keys


def _row(fields: Mapping[str, Any]) -> tuple[str, ...]:
    rest = ", ".join(
        f"{name} {value}" for name, value in fields.items() if name not in _APART and value not in (None, "")
    )
    return (*(str(fields.get(name, "")) for name in _APART), rest)
