"""A simulation on RabbitMQ starts a process for each role, as an operator would start it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fedbus import environment
from fedbus.broker.node.node import Node
from fedbus.broker.rabbitmq.broker import AmqpBroker
from fedbus.cli.children import member_process
from fedbus.cli.introductions import Introduced, KeyFiles, client_of
from fedbus.cli.workplace import Workplace
from fedbus.client import Client
from fedbus.errors import FedbusError
from fedbus.identity import Role
from fedbus.job import JobSpec
from fedbus.service import process

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
        running = [
            stack.enter_context(
                member_process(name, command, _environment(urls, name) | own[name], folder / f"{name}.log")
            )
            for name, command in commands.items()
        ]
        note(f"starting a process each for {', '.join(each.name for each in running)}")
        for each in running:
            each.wait_ready()
        by, verify = known.client.credentials(Role.CLIENT), len(set(urls.values())) > 1
        client = stack.enter_context(Client(broker, spec.coordinator, credentials=by, verify_sender=verify))

        def check() -> None:
            for each in running:
                if (status := each.process.poll()) is not None:
                    raise FedbusError(f"{each.name} ended with status {status}: " + " / ".join(each.tail()))

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


def _environment(urls: dict[str, str], name: str) -> dict[str, str]:
    """Return the environment of one role's process, but for the files of its own, which the caller names."""
    given = {**environment.with_broker(urls[name]), "FEDBUS_VERIFY_SENDER": _verify_sender(urls)}
    return given | {"FEDBUS_METRICS_ADDRESS": "127.0.0.1:0", "FEDBUS_SIMULATION": "true"}


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
