"""Commands that read the coordinator's ledger: `jobs` and `show`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import tomli_w
import typer

from fedbus.cli.app import JobId, JsonFile, app, check_writable, write
from fedbus.cli.remote import connected_client
from fedbus.messages import JobLine, JobShown
from fedbus.report import print_report

_HEADINGS = ("job", "state", "how far", "since", "by")


@app.command("jobs")
def list_jobs(
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Only jobs that have not ended.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The newest so many.")] = 50,
    json_file: JsonFile = None,
) -> None:
    """List the jobs in the coordinator's ledger, newest first: your own, or all if you are one of its operators.

    A lost job id is found here; `fedbus show JOB` tells more of one.

    Example: `fedbus jobs --unfinished`
    """
    check_writable(json_file)
    with connected_client() as client:
        found = client.jobs(limit, unfinished=unfinished)
    if json_file is not None:
        write({"jobs": [_as_map(line) for line in found.jobs], "more": found.more}, json_file)
    if str(json_file) == "-":
        return
    rows = [(line.job, line.state, _how_far(line), _local(line.since), line.owner) for line in found.jobs]
    for row in _aligned([_HEADINGS, *rows]) if rows else ["no jobs"]:
        sys.stdout.write(f"{row}\n")
    if found.more:
        sys.stdout.write(f"there are older ones: --limit takes more than {limit}\n")


@app.command()
def show(job: JobId, json_file: JsonFile = None) -> None:
    """Show what the coordinator's ledger has of a job: its file, its states with their times, its report.

    For who submitted it, and for the coordinator's operators.

    Example: `fedbus show house-prices-7b892ac7faa846dc`
    """
    check_writable(json_file)
    with connected_client() as client:
        shown = client.show(job)
    if json_file is not None:
        write(_document(shown), json_file)
    if str(json_file) != "-":
        _print(shown)


def _document(shown: JobShown) -> dict[str, Any]:
    assert shown.line is not None  # noqa: S101  # Client.show raises where there is none
    states = [dataclasses.asdict(each) | {"at": _utc(each.at)} for each in shown.states or ()]
    return {**_as_map(shown.line), "job_file": shown.spec, "states": states, "report": shown.report}


def _print(shown: JobShown) -> None:
    line = shown.line
    assert line is not None  # noqa: S101  # Client.show raises where there is none
    out = sys.stdout.write
    out(f"{line.job}: {line.state}{f', {_how_far(line)}' if _how_far(line) else ''}; submitted by {line.owner}\n\n")
    for row in _aligned([(_local(each.at), each.state, each.reason) for each in shown.states or ()]):
        out(f"{row}\n")
    out(f"\n# The job file as it was submitted.\n{tomli_w.dumps(shown.spec or {})}")
    if line.state == "succeeded" and shown.report is not None:
        out("\n")
        sys.stdout.flush()
        print_report(shown.report)


def _how_far(line: JobLine) -> str:
    """As in "round 12 of 30"; vertical jobs may end long before the last epoch that they may take."""
    if line.done is None:
        return ""
    return f"{line.unit} {line.done}" + (f" of {line.most}" if line.most else "")


def _as_map(line: JobLine) -> dict[str, Any]:
    return dataclasses.asdict(line) | {"submitted": _utc(line.submitted), "since": _utc(line.since)}


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _local(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat(" ", "seconds")


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of as many cells each, in columns; never wrapped, so that a script can read them."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
