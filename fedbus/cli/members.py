"""Who is in a federation: `identity`, a member's own key, and `roster`, the keys of all members."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fedbus import files, settings, terminal
from fedbus.cli.app import JsonFile, app, example
from fedbus.cli.reports import check_writable, write
from fedbus.errors import ConfigError
from fedbus.identity import Identity, Role, Roster
from fedbus.members import roster_file
from fedbus.members.entries import Key, Member
from fedbus.members.keys import fingerprint, in_groups, in_words, public_text
from fedbus.members.roster import today
from fedbus.members.roster_file import Change
from fedbus.names import NAME
from fedbus.statuses import Status

_HEADINGS = ("name", "role", "since", "until", "fingerprint", "words")
_MAX_STDIN = 10_000

roster = typer.Typer(
    help="The keys of all members of a federation: each member keeps them in a file of its own.",
    rich_markup_mode="markdown",
)
app.add_typer(roster, name="roster")

RosterFile = Annotated[Path, typer.Argument(metavar="ROSTER", help="Roster file (TOML).", show_default=False)]


@roster.callback(invoke_without_command=True)
def _without_command(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        context.get_help()
        raise typer.Exit(Status.CONFIGURATION)


@app.command(
    epilog=example(
        "fedbus identity bank.toml",
        "fedbus identity coordinator.toml > coordinator.line",
        "fedbus identity olga.key --client olga",
    )
)
def identity(
    file: Annotated[
        Path,
        typer.Argument(
            help="Party file or coordinator file (TOML), whose `identity` says where the key belongs; with --client "
            "the key file itself.",
            show_default=False,
        ),
    ],
    client: Annotated[
        str | None,
        typer.Option(help="The name of a client, which has a key file and no settings file.", show_default=False),
    ] = None,
) -> None:
    """Make a member's identity where it has none yet, and print its line for the rosters of all members.

    The private key stays in its file, mode 0600. The line on standard output is for the other members' operators, who
    enter it by `fedbus roster add`, and for one's own roster; it is signed, so that a line that was changed or cut off
    on its way is noticed. Standard error has the key's fingerprint, also in words. Whoever receives the line asks for
    them by another way, on the phone for example: the line could have been exchanged for another whole one.
    """
    name, role, path = _owner(file, client)
    try:
        has_one = files.exists(path)
    except OSError as error:
        raise ConfigError(f"{file}: identity: {path} cannot be looked for: {error.strerror}") from error
    own = Identity.load(path) if has_one else Identity.create(path)
    member = own.introduction(name, role)
    terminal.say(member.line())
    for line in _to_compare(member.keys[0]):
        terminal.tell(line)


@roster.command(
    epilog=example(
        """fedbus roster add roster.toml 'bank = { key = "ed25519:…", role = "party", proof = "…" }'""",
        'fedbus roster add roster.toml "$(fedbus identity shop.toml)"',
        "fedbus roster add roster.toml --until 2026-12-31 - < bank.line",
    )
)
def add(
    file: RosterFile,
    line: Annotated[
        str,
        typer.Argument(
            metavar="LINE",
            help="What `fedbus identity` printed at the member; - reads it from standard input.",
            show_default=False,
        ),
    ],
    until: Annotated[
        datetime.datetime | None,
        typer.Option(
            metavar="DATE",
            formats=["%Y-%m-%d"],
            help="The member has a new key: its old one counts too until this day.",
            show_default=False,
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="The member has a new key: its old one counts no more, from now on.")
    ] = False,
) -> None:
    """Enter a member's line into a roster, which is made where there is none.

    A line that was changed or cut off is refused, and so is one of a member that is there with another key, unless
    --until or --replace says what becomes of the old one. Compare the words with the member's operator, by another way
    than the one by which the line came.

    A process reads its roster when it starts: start it again after a change.
    """
    if until is not None and replace:
        raise ConfigError("--until: keeps the old key for a while, and --replace drops it at once; take one of the two")
    last = until.date() if until else None
    if last is not None and last < today():
        raise ConfigError(f"--until {last}: is over; name a day to come, or --replace for none")
    member = roster_file.introduced(sys.stdin.read(_MAX_STDIN) if line == "-" else line)
    try:
        change = roster_file.add(file, member, today(), replace=replace, until=last)
    except ConfigError:
        # Whoever decides about a new key has to ask whose it is.
        for told in _to_compare(member.keys[0]):
            terminal.tell(told)
        raise
    ends = f": the new one, and the old one until {last}" if change is Change.ROTATED else ""
    terminal.say(f"{file}: {member.name}, {member.role}: {change}{ends}")
    for told in _to_compare(member.keys[0]):
        terminal.say(told)
    if change is not Change.KNOWN:
        terminal.note(
            f"compare the words with the operator of {member.name}, on the phone for example; if they differ,"
            f" `fedbus roster remove {file} {member.name}`"
        )


@roster.command(epilog=example("fedbus roster show roster.toml", "fedbus roster show roster.toml --json -"))
def show(file: RosterFile, json_file: JsonFile = None) -> None:
    """List the members of a roster: role, fingerprint and words of each key, since when and until when it counts."""
    check_writable(json_file)
    found = Roster.load(file)
    if str(json_file) != "-":
        rows = [_row(member, key) for member in found.members for key in member.keys]
        for line in terminal.table([_HEADINGS, *rows]):
            terminal.say(line)
    if json_file is not None:
        write({"members": [_as_map(member) for member in found.members]}, json_file)


@roster.command(epilog=example("fedbus roster remove roster.toml bank"))
def remove(
    file: RosterFile,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The member that leaves.", show_default=False)],
) -> None:
    """Take a member off a roster, with all its keys: what it signs counts no more.

    A process reads its roster when it starts: start it again after a change.
    """
    member = roster_file.remove(file, name)
    terminal.say(f"{file}: {member.name}, {member.role}: removed")


def _owner(file: Path, client: str | None) -> tuple[str, Role, Path]:
    """Return name, role and key file of the member whose identity is asked for."""
    if client is not None:
        if not NAME.fullmatch(client):
            raise ConfigError(f"--client {client}: a name has small letters, digits, _ and -, 64 at most")
        if file.suffix == ".toml":
            raise ConfigError(f"{file}: with --client it is the key file that is named, {client}.key for example")
        return client, Role.CLIENT, file
    member, role = settings.load_member(file)
    if not member.identity:
        raise ConfigError(
            f'{file}: identity: missing; add identity = "state/{member.name}.key" and roster = "roster.toml"'
        )
    return member.name, role, member.path(member.identity)


def _to_compare(key: Key) -> list[str]:
    found = fingerprint(key.public)
    return [f"fingerprint  {in_groups(found)}", f"in words     {in_words(found)}"]


def _row(member: Member, key: Key) -> tuple[str, ...]:
    found = fingerprint(key.public)
    since, until = str(key.since or "-"), str(key.until or "-")
    over = " (over)" if key.until and key.until < today() else ""
    return member.name, member.role, since, until + over, in_groups(found), in_words(found)


def _as_map(member: Member) -> dict[str, Any]:
    keys = [
        {
            "key": public_text(key.public),
            "fingerprint": in_groups(fingerprint(key.public)),
            "words": in_words(fingerprint(key.public)),
            "since": str(key.since) if key.since else None,
            "until": str(key.until) if key.until else None,
            "valid": key.until is None or today() <= key.until,
            "signed": bool(key.proof),
        }
        for key in member.keys
    ]
    return {"name": member.name, "role": member.role, "keys": keys}
