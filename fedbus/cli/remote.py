"""The commands `submit`, `watch` and `cancel` reach a coordinator through the broker."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from fedbus import terminal
from fedbus.algorithms import registry
from fedbus.cli.app import IdentityFile, JobFile, JobId, JsonFile, RosterFile, app, example
from fedbus.cli.display import Display
from fedbus.cli.reports import check_writable, finish
from fedbus.client import Client, report_of
from fedbus.errors import FedbusError, JobRefused, NotFound
from fedbus.job import COORDINATOR, UNKNOWN, JobState, is_final
from fedbus.messages.control import StateChanged
from fedbus.report import Report

# For the coordinator's first word, which takes milliseconds where one runs.
_WORD_SECONDS = 5.0


@app.command(epilog=example("JOB=$(fedbus submit job.toml)", "fedbus submit job.toml --watch --json report.json"))
def submit(
    job_file: JobFile,
    watch: Annotated[bool, typer.Option("--watch", help="Stay until the job has ended, and show its report.")] = False,
    json_file: JsonFile = None,
    identity: IdentityFile = None,
    roster: RosterFile = None,
) -> None:
    """Put a job in the coordinator's queue and print its id.

    The broker is the one in FEDBUS_AMQP_URL. Without a running coordinator the job waits in the queue; a note says so,
    and the exit status is 0.
    """
    check_writable(json_file)
    spec = registry.load(job_file)
    with connected_client(spec.coordinator, identity, roster) as client:
        job = client.submit(spec)
        with going_on(job):
            (terminal.tell if watch else terminal.say)(job)
            if not watch and json_file is None:
                _hear(client, job)
                return
            report = _followed(client, job)
        _finish(report, json_file)


@app.command(epilog=example("fedbus watch $JOB --json report.json"))
def watch(job: JobId, json_file: JsonFile = None, identity: IdentityFile = None, roster: RosterFile = None) -> None:
    """Follow a job until it has ended, then show its report."""
    check_writable(json_file)
    with connected_client(identity=identity, roster=roster) as client:
        with going_on(job):
            report = _followed(client, job)
        _finish(report, json_file)


@app.command(epilog=example("fedbus cancel $JOB"))
def cancel(job: JobId, identity: IdentityFile = None, roster: RosterFile = None) -> None:
    """End a job on all sides; for who submitted it, and for the coordinator's operators.

    A job that has ended already is left as it is, and the exit status is 4. Without a coordinator that runs the
    cancellation waits in the queue; a note says so, and the exit status is 0.
    """
    with connected_client(identity=identity, roster=roster) as client:
        cancel_on(client, job)


def cancel_on(client: Client, job: str, seconds: float = _WORD_SECONDS) -> None:
    """Cancel a job, and say what became of it; `seconds` are for each word of the coordinator.

    Raises:
        JobRefused: it has ended already, or this user may not.
        NotFound: the coordinator has no such job.
    """
    # Of a job that had ended before, the coordinator's answer is the same as of one that it cancels now.
    asked = False
    try:
        for event in client.watch(job, timeout=seconds):
            if not asked:
                if isinstance(event, StateChanged) and is_final(event.state):
                    raise _ended_already(job, event)
                client.cancel(job)
                asked = True
            elif isinstance(event, StateChanged):
                _see_cancelled(job, event)
    except TimeoutError:
        if not asked:
            client.cancel(job)
        terminal.note(
            f"the cancellation of {job} is queued and takes effect as soon as the coordinator is back; none has"
            f" answered within {seconds:g} s"
        )


def _ended_already(job: str, event: StateChanged) -> FedbusError:
    if event.state == UNKNOWN:
        return NotFound(f"{event.reason}; `fedbus jobs` lists those that it has")
    reason = f" ({event.reason})" if event.reason else ""
    return JobRefused(f"job {job} has ended already: {event.state}{reason}; there is nothing to cancel")


def _see_cancelled(job: str, event: StateChanged) -> None:
    if event.state == JobState.CANCELLED:
        terminal.say(f"{job}: cancelled")
    elif event.state != JobState.CANCELLING and (event.reason or is_final(event.state)):
        raise JobRefused(f"job {job} is {event.state}; not cancelled: {event.reason or 'it has ended'}")


def _hear(client: Client, job: str) -> None:
    """Wait for the coordinator's first word on a job."""
    try:
        for event in client.watch(job, timeout=_WORD_SECONDS):
            if isinstance(event, StateChanged):
                if event.state == JobState.FAILED:
                    raise JobRefused(f"job {job} failed: {event.reason}")
                if event.state == UNKNOWN:
                    raise JobRefused(f"{event.reason}, although the broker had taken it; submit it again")
                return
    except TimeoutError:
        terminal.note(
            f"the job is queued, and no coordinator has answered within {_WORD_SECONDS:g} s; it begins as soon as"
            " fedbus-coordinator runs"
        )


def connected_client(name: str = COORDINATOR, identity: Path | None = None, roster: Path | None = None) -> Client:
    """Return a client at the broker in FEDBUS_AMQP_URL; raise ConfigError where it is not set."""
    return Client.connect(coordinator=name, identity=identity, roster=roster)


@contextlib.contextmanager
def going_on(job: str) -> Iterator[None]:
    """Tell whoever ends a command that follows a job what becomes of the job."""
    try:
        yield
    except KeyboardInterrupt:
        terminal.note(f"the job goes on; `fedbus watch {job}` follows it again, `fedbus cancel {job}` ends it")
        raise


def _followed(client: Client, job: str) -> Report:
    """Show a job's events to its end. Return its report, or what there is in its place."""
    report = Report(job=job, state=UNKNOWN)
    with Display(job) as display:
        for event in client.watch(job):
            display.show(event)
            if isinstance(event, StateChanged) and is_final(event.state):
                report = report_of(job, event)
    if report.state == UNKNOWN:
        lost = "; if it was submitted, it was lost: submit it again"
        return msgspec.structs.replace(report, reason=report.reason + lost)
    return report


def _finish(report: Report, json_file: Path | None) -> None:
    finish(report, json_file, f"`fedbus watch {report.job} --json FILE` has it again")
