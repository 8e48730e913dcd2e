"""A coordinator without parties, for tests of what clients ask of it."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator
from pathlib import Path

from coordinator.service import Service
from fedbus import codec, topology
from fedbus.broker.base import Broker, Delivery, Outgoing
from fedbus.broker.memory.broker import MemoryHub
from fedbus.client import Client
from fedbus.crypto.engine import Engine
from fedbus.job import JobSpec, JobState
from fedbus.messages.control import StateChanged
from fedbus.messages.envelope import Envelope, Message
from fedbus.settings import CoordinatorSettings
from fedbus.store.sqlite import SqliteStore
from federation import synthetic
from keyring import credentials, introduced, opened, sealed, submission

WAIT = 10.0


class Bench:
    """A coordinator without parties, and the queue of one of them to look into."""

    def __init__(self, folder: Path) -> None:
        federation = synthetic(folder, max_epochs=3)
        federation.write_job()
        self.folder = folder
        self.spec: JobSpec = federation.spec()
        self.store = SqliteStore(folder / "coordinator.db")
        self.hub = MemoryHub()
        self.admin = self.connect("coordinator")
        self.admin.declare([topology.dead_queue(), topology.jobs_queue(), topology.control_queue("bank")])
        self.told: queue.SimpleQueue[Envelope] = queue.SimpleQueue()
        self.dead: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.admin.consume(topology.control_queue("bank").name, self._tell)
        self.admin.consume(topology.DEAD, self._bury)

    def connect(self, user: str) -> Broker:
        return self.hub.connect(user)

    @contextlib.contextmanager
    def serving(self, **settings: tuple[str, ...]) -> Iterator[Service]:
        engine, broker = Engine(0), self.connect("coordinator")
        settings = {"parties": ("shop", "bank"), **settings}
        service = Service(
            introduced(CoordinatorSettings(**settings), self.folder / "keys"), broker, self.store, engine, ""
        )
        service.start()
        yield service
        service.stop()
        engine.close()
        broker.close()
        service.join()

    def add(self, job: str, state: JobState, reason: str = "", owner: str = "alice") -> None:
        self.store.add_job(job, codec.pack(self.spec.to_map()), state, reason, owner)
        self.store.put_proof(job, owner, submission(job, self.spec, owner).signature)

    def request(self, key: str, job: str, user: str, message: Message, sender: str = "", to: str = "") -> None:
        envelope = Envelope(job, sender or user, to or "coordinator", message)
        broker = self.connect(user)
        broker.publish(Outgoing(topology.JOBS, key, sealed(envelope, user), envelope.id)).result(WAIT)
        broker.close()

    def _tell(self, delivery: Delivery) -> None:
        self.told.put(opened("bank", delivery.body))
        delivery.ack()

    def _bury(self, delivery: Delivery) -> None:
        self.dead.put(delivery.headers["x-fedbus-reason"])
        delivery.ack()


@contextlib.contextmanager
def watching(bench: Bench, user: str) -> Iterator[Client]:
    broker = bench.connect(user)
    with Client(broker, credentials=credentials(user)) as client:
        yield client
    broker.close()


def states(client: Client, job: str) -> list[StateChanged]:
    return [event for event in client.watch(job, WAIT) if isinstance(event, StateChanged)]
