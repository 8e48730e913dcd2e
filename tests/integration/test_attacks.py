"""Attacks over a real broker while an honest job runs, which goes on and gets the same model."""

from __future__ import annotations

import contextlib
import queue
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attacks import altered
from hostile import RawPublisher, field, long, properties, short

from fedbus import codec, topology
from fedbus.broker.base import Broker, Delivery, Outgoing
from fedbus.broker.node.node import Node
from fedbus.broker.rabbitmq.broker import AmqpBroker
from fedbus.client import Client
from fedbus.errors import DecodeError
from fedbus.messages.control import Cancel, Failed, Outcome, Query, StateChanged, Submit
from fedbus.messages.envelope import Envelope
from federation import Federation, add_party
from keyring import peek, sealed, seals, start, submission
from processes import WAIT, Processes, follow, small

Begin = Callable[..., Processes]
Connect = Callable[..., AmqpBroker]

SECRETS = ("income_of_household", "premium_tariff", "churned_in_march", "customer-00", "winter-rows")


class Spy:
    """All that passes a broker, as its administrator or the coordinator can have it by a queue of their own."""

    def __init__(self, broker: Broker) -> None:
        self.seen: list[Delivery] = []
        self._came: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        bindings = tuple((exchange, "#") for exchange in topology.EXCHANGES)
        spy = topology.Queue("fedbus.party.coordinator.spy", bindings, {"x-queue-type": "classic"}, exclusive=True)
        broker.declare([spy])
        broker.consume(spy.name, self._see)

    def _see(self, delivery: Delivery) -> None:
        self._came.put(delivery)
        delivery.ack()

    def find(self, kind: str, sender: str = "", recipient: str = "") -> Delivery:
        """A message of a kind, which has passed or is waited for."""
        deadline, checked = time.monotonic() + WAIT, 0
        while True:
            for delivery in self.seen[checked:]:
                about = peek(delivery.body)
                if about.kind == kind and sender in ("", about.sender) and recipient in ("", about.recipient):
                    return delivery
            checked = len(self.seen)
            self.seen.append(self._came.get(timeout=max(0.1, deadline - time.monotonic())))

    def all(self) -> list[Delivery]:
        """Whatever has passed until now."""
        with contextlib.suppress(queue.Empty):
            while True:
                self.seen.append(self._came.get(timeout=0.5))
        return self.seen


@pytest.fixture
def spy(connect: Connect) -> Spy:
    return Spy(connect("coordinator"))


@pytest.fixture
def forger(node: Node) -> Iterator[Callable[..., bool]]:
    """A broker that is not honest: it publishes under any user's name, to any queue."""
    node.rabbitmqctl("set_user_tags", "coordinator", "impersonator")
    with RawPublisher(node.url("coordinator")) as publisher:

        def publish(exchange: str, key: str, body: bytes, user: str) -> bool:
            encoded = properties(user_id=short(user.encode()), message_id=short(b"forged"))
            return publisher.publish(Outgoing(exchange, key, body, "forged"), encoded)

        yield publish
    node.rabbitmqctl("set_user_tags", "coordinator")


def private_tables(folder: Path, **params: Any) -> Federation:
    """A job whose tables and files have words that nobody else uses."""
    made = small(folder, **params)
    for party, columns in (("shop", "churned_in_march,income_of_household,b"), ("bank", "premium_tariff,b")):
        lines = (folder / f"{party}.csv").read_text().splitlines()
        rows = [re.sub(r"^id(\d+)", lambda m: f"customer-{int(m[1]):05}", line) for line in lines[1:]]
        (folder / f"{party}.csv").write_text("\n".join([f"id,{columns}", *rows]) + "\n")
        add_party(folder, party, folder / f"{party}.csv", "id")
        file = folder / f"{party}.toml"
        file.write_text(file.read_text().replace("[datasets.rows]", "[datasets.winter-rows]"))
    made.label = "churned_in_march"
    text = made.write_job().read_text().replace('dataset = "rows"', 'dataset = "winter-rows"')
    made.write_job = lambda *_: made.job_file  # type: ignore[method-assign]
    made.job_file.write_text(text)
    return made


def refusals(running: Processes, name: str) -> float:
    """How many messages a process has refused."""
    found = re.findall(r'^fedbus_refused_total\{reason="\w+"\} (\S+)$', running.metrics(name), re.MULTILINE)
    return sum(map(float, found))


def wait_for_refusals(running: Processes, name: str, count: float) -> None:
    deadline = time.monotonic() + WAIT
    while refusals(running, name) < count:
        assert time.monotonic() < deadline, f"{name} refused {refusals(running, name):g} of {count:g}"
        time.sleep(0.05)


def test_a_broker_that_reads_everything_sees_places_only(
    tmp_path: Path, processes: Begin, client: Client, spy: Spy
) -> None:
    federation = private_tables(tmp_path, max_epochs=3)
    running = processes(federation)
    running.start_all()
    report = follow(client, client.submit(federation.spec()))
    assert report["state"] == "succeeded", report
    # What is looked for is there before it is sealed.
    assert codec.encode(Envelope("j", "a", "b", submission("j", federation.spec()))).count(b"churned_in_march") == 1
    seen = spy.all()
    kinds = {peek(delivery.body).kind for delivery in seen}
    assert kinds >= {"submit", "query", "start", "outcome", "state", "progress", "accepted", "blinded_ids", "forward"}
    for delivery in seen:
        text = b"|".join([delivery.body, delivery.routing_key.encode(), repr(delivery.headers).encode()])
        assert [secret for secret in SECRETS if secret.encode() in text] == []
        assert peek(delivery.body).payload is not None
        # The coordinator's own queue, bound to what parties tell each other.
        if "coordinator" not in (peek(delivery.body).sender, peek(delivery.body).recipient):
            with pytest.raises(DecodeError):
                codec.decode(delivery.body, seals("coordinator"))


def test_messages_that_were_changed_or_moved_are_refused_and_the_job_goes_on(
    tmp_path: Path, processes: Begin, client: Client, spy: Spy, forger: Callable[..., bool]
) -> None:
    federation = small(tmp_path, max_epochs=60)
    running = processes(federation)
    running.start_all()
    job = client.submit(federation.spec())
    attempts: list[str] = []

    def attack() -> None:
        message = spy.find("residual", "shop", "bank").body
        key = topology.data_key("shop", "bank", job)
        for name, changed in altered(message):
            assert forger(topology.DATA, key, changed, "shop"), name
            attempts.append(name)
        # The very same once more is a duplicate, and no harm.
        assert forger(topology.DATA, key, message, "shop")
        wait_for_refusals(running, "bank", len(attempts))

    report = follow(client, job, {3: attack})
    assert report["state"] == "succeeded", report
    assert report["rounds"] == 60
    assert len(attempts) >= 30
    assert refusals(running, "bank") == len(attempts)


def test_members_that_pose_as_others_are_refused_and_the_job_goes_on(
    tmp_path: Path, processes: Begin, client: Client, node: Node, spy: Spy, forger: Callable[..., bool]
) -> None:
    federation = small(tmp_path, max_epochs=60)
    running = processes(federation)
    running.start_all()
    job = client.submit(federation.spec())

    def attack() -> None:
        to_bank = topology.data_key("shop", "bank", job)
        own = topology.data_key("credit", "bank", job)
        fail = Envelope(job, "shop", "bank", Failed("because"))
        with RawPublisher(node.url("credit")) as credit:

            def publish(key: str, body: bytes, **given: bytes) -> bool:
                encoded = properties(message_id=short(b"forged"), **given)
                return credit.publish(Outgoing(topology.DATA, key, body, "forged"), encoded)

            # The broker itself refuses another's name and another's routing key.
            assert not publish(own, sealed(fail, "credit"), user_id=short(b"shop"))
            assert not publish(to_bank, sealed(fail, "credit"), user_id=short(b"credit"))
            refused = 0
            for header in (b"CC", b"BCC"):
                # Which pass the permissions of topics.
                copies = field(b"A", long(b"S" + long(to_bank.encode())), header)
                for sender in ("shop", "credit"):
                    envelope = Envelope(job, sender, "bank", Failed("because"))
                    assert publish(
                        f"credit.nobody.{job}",
                        sealed(envelope, "credit"),
                        user_id=short(b"credit"),
                        headers=long(copies),
                    )
                    refused += 1
            assert publish(own, sealed(Envelope(job, "credit", "bank", Failed("x"))), user_id=short(b"credit"))
        # A broker that lets it: another's name, in a message under one's own seal.
        for sender in ("shop", "coordinator"):
            envelope = Envelope(job, sender, "bank", Failed("because"))
            assert forger(topology.DATA, to_bank, sealed(envelope, "credit"), sender)
        # The coordinator says that the label's owner failed; who coordinates is in no other's place, either.
        assert forger(topology.DATA, to_bank, sealed(fail, "coordinator"), "shop")
        wait_for_refusals(running, "bank", refused + 4)
        # Orders.
        before, control = refusals(running, "bank"), topology.control_key("bank", job, "outcome")
        orders = [
            (Envelope(job, "coordinator", "bank", Outcome("failed", "because")), "credit"),
            (Envelope(job, "shop", "bank", Outcome("failed", "because")), "shop"),
            (Envelope("job-2", "shop", "bank", start("job-2", federation.spec(), "client")), "shop"),
            (Envelope(job, "client", "bank", Outcome("failed", "because")), "client"),
        ]
        for envelope, sealer in orders:
            assert forger(topology.CONTROL, control, sealed(envelope, sealer), envelope.sender)
        wait_for_refusals(running, "bank", before + len(orders))
        # Orders of the coordinator's, once more: none begins or ends anything.
        assert forger(topology.CONTROL, control, spy.find("start", "coordinator", "bank").body, "coordinator")

    report = follow(client, job, {3: attack})
    assert report["state"] == "succeeded", report
    assert report["rounds"] == 60


def test_requests_of_strangers_and_in_others_names_are_refused_and_the_job_goes_on(
    tmp_path: Path, processes: Begin, client: Client, spy: Spy, forger: Callable[..., bool]
) -> None:
    federation = small(tmp_path, max_epochs=60)
    running = processes(federation)
    running.start_all()
    spec = federation.spec()
    job = client.submit(spec)

    def attack() -> None:
        submitted = spy.find("submit").body
        requests = [(topology.SUBMIT, name, changed, "client") for name, changed in altered(submitted)]
        for key, envelope, sealer in (
            (topology.CANCEL, Envelope(job, "client", "coordinator", Cancel()), "mallory"),
            (topology.CANCEL, Envelope(job, "bank", "coordinator", Cancel()), "bank"),
            (topology.CANCEL, Envelope(job, "eve", "coordinator", Cancel()), "eve"),
            (topology.SUBMIT, Envelope("job-2", "eve", "coordinator", submission("job-2", spec, "eve")), "eve"),
            (topology.SUBMIT, Envelope("job-2", "bank", "coordinator", submission("job-2", spec, "bank")), "bank"),
            (topology.QUERY, Envelope(job, "client", "coordinator", Query()), "mallory"),
        ):
            requests.append((key, envelope.kind, sealed(envelope, sealer), envelope.sender))
        for key, name, body, user in requests:
            assert forger(topology.JOBS, key, body, user), name
        wait_for_refusals(running, "coordinator", len(requests))
        # A client is a member, and what it says is told to it alone: another's job is none of its business, a job that
        # it did not sign is none, and the same submission once more changes nothing.
        for envelope in (
            Envelope(job, "mallory", "coordinator", Cancel()),
            Envelope("job-3", "mallory", "coordinator", submission("job-3", spec, "client")),
            Envelope("job-4", "mallory", "coordinator", Submit(spec.to_map(), bytes(64))),
        ):
            assert forger(topology.JOBS, topology.SUBMIT, sealed(envelope), "mallory")
        assert forger(topology.JOBS, topology.SUBMIT, submitted, "client")
        assert [line.job for line in client.jobs(timeout=WAIT).jobs if not line.job.startswith("test-")] == []

    report = follow(client, job, {3: attack})
    assert report["state"] == "succeeded", report
    assert report["rounds"] == 60
    # Yesterday's job once more, and yesterday's orders.
    assert forger(topology.JOBS, topology.SUBMIT, spy.find("submit").body, "client")
    order = spy.find("start", "coordinator", "bank")
    assert forger(topology.CONTROL, order.routing_key, order.body, "coordinator")
    seen = [event for event in client.watch(job, WAIT) if isinstance(event, StateChanged)]
    assert [event.state for event in seen] == ["succeeded"]
    assert set(running.end_all().values()) == {0}
    for name in ("coordinator", "bank"):
        assert running.log(name).count("job received") == 1
