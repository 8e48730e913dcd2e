"""Commands that reach a coordinator through the broker: `submit`, `watch`, `cancel`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from fedbus import jobs, settings, terminal
from fedbus.broker.amqp import AmqpBroker
from fedbus.cli.app import JobFile, JobId, JsonFile, app, example
from fedbus.cli.reports import check_writable, finish
from fedbus.client import Client
from fedbus.display import Display
from fedbus.errors import ConfigError, JobRefused
from fedbus.jobs import UNKNOWN, JobState
from fedbus.messages import StateChanged

# For the coordinator's first word, which takes milliseconds where one runs.
_WORD_SECONDS = 5.0


@app.command(epilog=example("JOB=$(fedbus submit job.toml)", "fedbus submit job.toml --watch --json report.json"))
def submit(
    job_file: JobFile,
    watch: Annotated[bool, typer.Option("--watch", help="Stay until the job has ended, and show its report.")] = False,
    json_file: JsonFile = None,
) -> None:
    """Put a job in the coordinator's queue and print its id.

    The broker is the one in FEDBUS_AMQP_URL. Without a running coordinator the job waits in the queue; a note says so,
    and the exit status is 0.
    """
    check_writable(json_file)
    spec = jobs.load(job_file)
    with connected_client(spec.coordinator) as client:
        job = client.submit(spec)
        (terminal.tell if watch else terminal.say)(job)
        if watch or json_file:
            _watch(client, job, json_file)
        else:
            _hear(client, job)


@app.command(epilog=example("fedbus watch $JOB --json report.json"))
def watch(job: JobId, json_file: JsonFile = None) -> None:
    """Follow a job until it has ended, then show its report."""
    check_writable(json_file)
    with connected_client() as client:
        _watch(client, job, json_file)


@app.command(epilog=example("fedbus cancel $JOB"))
def cancel(job: JobId) -> None:
    """End a job on all sides; for who submitted it, and for the coordinator's operators.

    Without a coordinator that runs the cancellation waits in the queue; a note says so, and the exit status is 0.
    """
    with connected_client() as client:
        client.cancel(job)
        try:
            _see_cancelled(client, job)
        except TimeoutError:
            terminal.note(
                f"the cancellation of {job} is queued and takes effect as soon as the coordinator is back; none has"
                f" answered within {_WORD_SECONDS:g} s"
            )


def _see_cancelled(client: Client, job: str) -> None:
    for event in client.watch(job, timeout=_WORD_SECONDS):
        if not isinstance(event, StateChanged) or event.state == JobState.CANCELLING:
            continue
        if event.state == JobState.CANCELLED:
            terminal.say(f"{job}: cancelled")
        elif event.reason or event.state == UNKNOWN or JobState(event.state).final:
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


@contextlib.contextmanager
def connected_client(name: str = jobs.COORDINATOR) -> Iterator[Client]:
    """A client at the broker in FEDBUS_AMQP_URL; ConfigError where it is not set."""
    url = settings.broker_url()
    if not url:
        raise ConfigError("FEDBUS_AMQP_URL: not set; it is the broker's URL, amqp://user:password@host:5672/")
    with contextlib.closing(AmqpBroker(url)) as broker:
        broker.connect()
        with Client(broker, name, verify_sender=settings.verify_sender()) as client:
            yield client


def _watch(client: Client, job: str, json_file: Path | None) -> None:
    report: dict[str, Any] = {}
    with Display(job) as display:
        for event in client.watch(job):
            display.show(event)
            if isinstance(event, StateChanged):
                lost = "; if it was submitted, it was lost: submit it again" if event.state == UNKNOWN else ""
                report = event.report or {"job": job, "state": event.state, "reason": event.reason + lost}
    finish(report, json_file, f"`fedbus watch {job} --json FILE` has it again")
