"""`fedbus party`: an operator's answers to the jobs that wait for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fedbus import settings, terminal
from fedbus.cli.app import JsonFile, app, example
from fedbus.cli.reports import check_writable, write
from fedbus.statuses import Status

_COLUMNS = ("job", "since", "submitter", "algorithm", "dataset", "parties", "rounds", "epochs", "epsilon")

party = typer.Typer(
    help="The jobs that wait until a party's operator approves them, where its policy has `ask = true`.",
    rich_markup_mode="markdown",
)
app.add_typer(party, name="party")

PartyFile = Annotated[Path, typer.Argument(metavar="PARTYFILE", help="Party file (TOML).", show_default=False)]
Job = Annotated[str, typer.Argument(metavar="JOB", help="Job id, as `fedbus party pending` lists it.")]


@party.callback(invoke_without_command=True)
def _without_command(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        context.get_help()
        raise typer.Exit(Status.CONFIGURATION)


@party.command(epilog=example("fedbus party pending bank.toml", "fedbus party pending bank.toml --json -"))
def pending(file: PartyFile, json_file: JsonFile = None) -> None:
    """List the jobs that wait for this party's operator, and what each asks for."""
    from parties.approval import Approvals

    check_writable(json_file)
    found = Approvals.of(settings.load_party(file)).pending()
    if str(json_file) != "-":
        shown = [name for name in _COLUMNS if any(question.get(name) for question in found)]
        rows = [tuple(_text(question.get(name)) for name in shown) for question in found]
        for line in terminal.table([tuple(shown), *rows]) if rows else ["no job waits"]:
            terminal.say(line)
    if json_file is not None:
        write({"pending": found}, json_file)


@party.command(epilog=example("fedbus party approve bank.toml house-prices-7b892ac7faa846dc"))
def approve(file: PartyFile, job: Job) -> None:
    """Let the party take part in a job that waits. The running party finds the answer within a second."""
    _answer(file, job, approved=True)


@party.command(epilog=example("fedbus party reject bank.toml house-prices-7b892ac7faa846dc --why 'not agreed'"))
def reject(
    file: PartyFile,
    job: Job,
    why: Annotated[
        str, typer.Option("--why", help="The reason, which all who take part are told.", show_default=False)
    ] = "",
) -> None:
    """Have the party leave a job that waits; the job then ends."""
    _answer(file, job, approved=False, why=why)


def _answer(file: Path, job: str, *, approved: bool, why: str = "") -> None:
    from parties.approval import Approvals

    own = settings.load_party(file)
    Approvals.of(own).answer(job, approved=approved, why=why)
    terminal.say(f"{own.name}: job {job} {'approved' if approved else 'rejected'}")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
