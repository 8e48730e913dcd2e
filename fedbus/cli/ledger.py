"""The commands `jobs` and `show` read the coordinator's ledger."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Annotated, Any

import tomli_w
import typer

from fedbus import terminal
from fedbus.algorithms import registry
from fedbus.cli.app import IdentityFile, JobId, JsonFile, RosterFile, app, example
from fedbus.cli.remote import connected_client
from fedbus.cli.report import print_report, to_json
from fedbus.cli.reports import check_writable, write
from fedbus.job import JobState
from fedbus.messages.ledger import JobLine, JobShown

_HEADINGS = ("job", "name", "algorithm", "state", "how far", "since", "by")


@app.command("jobs", epilog=example("fedbus jobs --unfinished"))
def list_jobs(
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Only jobs that have not ended.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The newest so many.")] = 50,
    json_file: JsonFile = None,
    identity: IdentityFile = None,
    roster: RosterFile = None,
) -> None:
    """List the jobs in the coordinator's ledger, newest first: your own, or all if you are one of its operators.

    A lost job id is found here; `fedbus show JOB` tells more of one.
    """
    check_writable(json_file)
    with connected_client(identity=identity, roster=roster) as client:
        found = client.jobs(limit, unfinished=unfinished)
    if str(json_file) != "-":
        rows = [
            (line.job, line.name, line.algorithm, line.state, _how_far(line), _local(line.since), line.owner)
            for line in found.jobs
        ]
        for row in terminal.table([_HEADINGS, *rows]) if rows else ["no jobs"]:
            terminal.say(row)
        if found.more:
            terminal.say(f"there are older ones: --limit takes more than {limit}")
    if json_file is not None:
        write({"jobs": [_as_map(line) for line in found.jobs], "more": found.more}, json_file)


@app.command(epilog=example("fedbus show house-prices-7b892ac7faa846dc"))
def show(job: JobId, json_file: JsonFile = None, identity: IdentityFile = None, roster: RosterFile = None) -> None:
    """Show what the coordinator's ledger has of a job: what its file says, its states with their times, its report.

    For who submitted it, and for the coordinator's operators.
    """
    check_writable(json_file)
    with connected_client(identity=identity, roster=roster) as client:
        shown = client.show(job)
    if str(json_file) != "-":
        _print(shown)
    if json_file is not None:
        write(_document(shown), json_file)


def _document(shown: JobShown) -> dict[str, Any]:
    assert shown.line is not None  # noqa: S101  # Client.show raises where there is none
    states = [dataclasses.asdict(each) | {"at": _utc(each.at)} for each in shown.states or ()]
    return {**_as_map(shown.line), "job_file": shown.spec, "states": states, "report": shown.report}


def _print(shown: JobShown) -> None:
    line = shown.line
    assert line is not None  # noqa: S101  # Client.show raises where there is none
    how_far = f", {_how_far(line)}" if _how_far(line) else ""
    terminal.say(f"{line.job}: {line.state}{how_far}; submitted by {line.owner}")
    terminal.say("")
    for row in terminal.table([(_local(each.at), each.state, each.reason) for each in shown.states or ()]):
        terminal.say(row)
    terminal.say("")
    terminal.say("# What the job file says, without its comments and in an order of its own.")
    for text in _as_toml(shown.spec or {}).splitlines():
        terminal.say(text)
    if shown.report is not None:
        terminal.say("")
        if line.state == JobState.SUCCEEDED:
            print_report(registry.read_report(shown.report))
        else:
            # How far it came; the sentences of a report are those of a model.
            for text in to_json(shown.report).splitlines():
                terminal.say(text)


def _as_toml(spec: dict[str, Any]) -> str:
    try:
        return tomli_w.dumps(spec)
    except TypeError:
        # Another program submitted it, and the coordinator refused it: TOML has no null.
        return to_json(spec)


def _how_far(line: JobLine) -> str:
    """Say how far a job is, as in "round 12 of 30"; vertical jobs may end long before their last epoch."""
    if line.done is None:
        return ""
    return f"{line.unit} {line.done}" + (f" of {line.most}" if line.most else "")


def _as_map(line: JobLine) -> dict[str, Any]:
    return dataclasses.asdict(line) | {"submitted": _utc(line.submitted), "since": _utc(line.since)}


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _local(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat(" ", "seconds")
