"""A simulation on RabbitMQ starts a process for each role, as an operator would start it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from fedbus import environment, files
from fedbus.broker.node.node import Node
from fedbus.broker.rabbitmq.broker import AmqpBroker
from fedbus.cli.introductions import Introduced, KeyFiles, client_of
from fedbus.cli.workplace import Workplace
from fedbus.client import Client
from fedbus.errors import FedbusError
from fedbus.identity import Role
from fedbus.job import JobSpec
from fedbus.service import process

END_SECONDS = 10.0

Note = Callable[[str], object]
# A client, what submits the job and returns its id, and what raises where a role has died.
Running = tuple[Client, Callable[[], str], Callable[[], None]]


@contextlib.contextmanager
def on_rabbitmq(
    spec: JobSpec, known: Introduced, job_file: Path, files: Sequence[Path], place: Workplace, note: Note
) -> Iterator[Running]:
    """Have the job's roles at work until the end of the `with` block.

    Args:
        files: of the parties, in their order.
        note: called with what is under way.

    Raises:
        BrokerError: RabbitMQ cannot be started or reached.
        FedbusError: a role did not start.
    """
    folder = place.folder
    with contextlib.ExitStack() as stack:
        urls = stack.enter_context(_broker(spec, note))
        # First of all: processes wait for a broker for ever, a simulation should not.
        url = urls[client_of(spec)]
        broker = AmqpBroker(url, tls=environment.broker_tls(environment.with_broker(url)))
        stack.callback(broker.close)
        broker.connect()
        config = folder / "coordinator.toml"
        names = ", ".join(f'"{party}"' for party in spec.parties)
        config.write_text(f'name = "{spec.coordinator}"\nparties = [{names}]\n', "utf-8")
        commands = {spec.coordinator: [*process.script("fedbus-coordinator"), "--config", str(config)]}
        own = {name: {"FEDBUS_STATE": str(place.store(name))} for name in spec.participants}
        own[spec.coordinator] |= known.coordinator.environment()
        for party, file in zip(known.parties, files, strict=True):
            commands[party.name] = [*process.script("fedbus-party"), "--config", str(file)]
            own[party.name] |= KeyFiles(party.path(party.identity), party.path(party.roster)).environment()
        running = {
            name: stack.enter_context(_process(name, command, urls, folder, own[name]))
            for name, command in commands.items()
        }
        note(f"starting a process each for {', '.join(running)}")
        for name, child in running.items():
            _wait_ready(name, child, folder)
        by, verify = known.client.credentials(Role.CLIENT), len(set(urls.values())) > 1
        client = stack.enter_context(Client(broker, spec.coordinator, credentials=by, verify_sender=verify))

        def check() -> None:
            for name, child in running.items():
                if child.poll() is not None:
                    raise FedbusError(f"{name} ended with status {child.returncode}: " + _tail(name, folder))

        yield client, lambda: _submit(job_file, urls[client_of(spec)], _verify_sender(urls), known.client), check


@contextlib.contextmanager
def _broker(spec: JobSpec, note: Note) -> Iterator[dict[str, str]]:
    """Return URLs by user: of the broker in the environment, whose one user all share, or of a private node."""
    client = client_of(spec)
    users = (*spec.participants, client)
    if url := environment.broker_url():
        yield dict.fromkeys(users, url)
        return
    roles = {spec.coordinator: "coordinator", **dict.fromkeys(spec.parties, "party"), client: "client"}
    note("starting a private RabbitMQ node")
    with Node(users=roles) as node:
        yield {user: node.url(user) for user in users}


@contextlib.contextmanager
def _process(
    name: str, command: list[str], urls: dict[str, str], folder: Path, own: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    given = {**environment.with_broker(urls[name]), "FEDBUS_VERIFY_SENDER": _verify_sender(urls)}
    given |= {"FEDBUS_METRICS_ADDRESS": "127.0.0.1:0", "FEDBUS_SIMULATION": "true", **own}
    with files.open_private(folder / f"{name}.log", "w") as log:
        child = subprocess.Popen(  # noqa: S603  # our own scripts
            [*command, "--until-end-of-input"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=given,
        )  # fmt: skip
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        for pipe in (child.stdin, child.stdout):
            _close(pipe)


def _verify_sender(urls: dict[str, str]) -> str:
    """Return what FEDBUS_VERIFY_SENDER is to say: a user that all share cannot vouch for a sender's name."""
    return "false" if len(set(urls.values())) == 1 else "true"


def _submit(job_file: Path, url: str, verify: str, own: KeyFiles) -> str:
    given = {**environment.with_broker(url), "FEDBUS_VERIFY_SENDER": verify, **own.environment()}
    done = subprocess.run(  # noqa: S603  # our own script
        [*process.script("fedbus"), "submit", str(job_file)],
        env=given, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise FedbusError(f"the job could not be submitted: {done.stderr.strip()}")
    return done.stdout.strip()


def _wait_ready(name: str, child: subprocess.Popen[str], folder: Path) -> None:
    assert child.stdout is not None  # noqa: S101  # it is a pipe
    if not child.stdout.readline():
        child.wait()
        raise FedbusError(f"{name} did not start: " + _tail(name, folder))


def _tail(name: str, folder: Path) -> str:
    """Return the last lines of a process's log."""
    return " / ".join((folder / f"{name}.log").read_text("utf-8").strip().splitlines()[-5:])


def _close(pipe: IO[str] | None) -> None:
    if pipe is not None:
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
