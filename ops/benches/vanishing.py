"""Parties that vanish at random steps of a job of federated averaging and come back; every sum held against the truth.

All roles are the real ones, as threads on the in-process broker, so that a vector can be seen before it is masked.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from coordinator.service import Service
from coordinator.sums import masked as coordinator_masked
from coordinator.sums.base import Sum
from fedbus import settings
from fedbus.algorithms import registry
from fedbus.algorithms.fedavg.messages import Assignment
from fedbus.algorithms.sums.layout import SumLayout
from fedbus.algorithms.sums.messages import MaskedUpdate, RevealedShares
from fedbus.broker.memory.broker import MemoryHub
from fedbus.cli.introductions import introduce
from fedbus.client import Client
from fedbus.crypto.engine import Engine
from fedbus.errors import JobFailed
from fedbus.identity import Role
from fedbus.messages.control import StateChanged
from fedbus.messages.envelope import Message
from fedbus.session.post import Post
from fedbus.settings import CoordinatorSettings, PartySettings
from fedbus.store.sqlite import SqliteStore
from parties.sums import masked as parties_masked
from parties.worker import Worker

# Where a party vanishes: it has heard the order and says nothing; it has sent its vector; it has revealed its shares.
STEPS = ("before", "update", "reveal")
_END_SECONDS = 300.0


@dataclass
class Record:
    """What happened.

    Attributes:
        vectors: what each party put into each sum before it was masked, by window, slot and party.
        exact: of each sum of residues, whether it equals the sum of these vectors.
        survivors: of each sum.
        vanished: how often a party vanished, by step.
    """

    vectors: dict[tuple[int, int, str], np.ndarray] = field(default_factory=dict)
    exact: list[bool] = field(default_factory=list)
    survivors: list[int] = field(default_factory=list)
    vanished: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STEPS, 0))


class Vanishing:
    """A federation whose parties vanish.

    Args:
        vanishing: how many parties vanish in each training round.
        seed: of who vanishes where.
    """

    def __init__(self, job_file: Path, files: Sequence[Path], vanishing: int, seed: int = 1) -> None:
        self.job_file = job_file
        self.spec = registry.load(job_file)
        self.record = Record()
        self._files = files
        self._vanishing = vanishing
        self._random = random.Random(seed)
        self._hub = MemoryHub()
        self._workers: dict[str, Worker] = {}
        self._parties: dict[str, PartySettings] = {}
        self._stores: dict[str, SqliteStore] = {}
        self._brokers: dict[str, Any] = {}
        self._plan: dict[tuple[int, str], str] = {}
        self._planned: set[int] = set()
        self._round: dict[str, int] = {}
        self._back: list[threading.Thread] = []
        self._lock = threading.Condition()
        self._summed = 0
        self._ended = False

    def run(self, folder: Path) -> dict[str, Any]:
        """The job's report."""
        loaded = [settings.load_party(file, {"FEDBUS_SIMULATION": "true"}) for file in self._files]
        known = introduce(self.spec, loaded, folder)
        engine = Engine(0)
        with ExitStack() as stack, self._watched():
            hub = self._hub
            own = {"identity": str(known.coordinator.identity), "roster": str(known.coordinator.roster)}
            config = CoordinatorSettings(name=self.spec.coordinator, parties=self.spec.parties, **own)
            store = stack.enter_context(SqliteStore(folder / "coordinator.db"))
            broker = hub.connect(config.name)
            service = Service(config, broker, store, engine, "")
            for close in (service.join, broker.close, service.stop):
                stack.callback(close)
            service.start()
            for party in known.parties:
                self._parties[party.name] = msgspec.structs.replace(party, processes=0)
                self._stores[party.name] = stack.enter_context(SqliteStore(folder / f"{party.name}.db"))
                self._start(party.name, engine)
            stack.callback(self._end)
            by = known.client.credentials(Role.CLIENT)
            client = stack.enter_context(Client(hub.connect("client"), self.spec.coordinator, credentials=by))
            job = client.submit(self.spec)
            for event in client.watch(job, _END_SECONDS):
                if isinstance(event, StateChanged) and event.state in ("failed", "cancelled"):
                    raise JobFailed(event.reason)
                if isinstance(event, StateChanged) and event.report is not None:
                    return event.report
        raise JobFailed("the job ended without a report")

    def _start(self, name: str, engine: Engine) -> None:
        self._brokers[name] = self._hub.connect(name)
        worker = Worker(self._parties[name], self._brokers[name], self._stores[name], engine, "")
        self._workers[name] = worker
        worker.start()

    def _end(self) -> None:
        with self._lock:
            self._ended = True
            self._lock.notify_all()
        for thread in self._back:
            thread.join()
        for name, worker in self._workers.items():
            worker.stop()
            self._brokers[name].close()
            worker.join()

    def _vanish(self, name: str, step: str) -> None:
        """End a party's worker without a word, and start another one in its place."""
        with self._lock:
            self.record.vanished[step] += 1
        round_ = self._round[name]
        worker, broker = self._workers[name], self._brokers[name]
        engine = worker._engine

        def replace() -> None:
            worker.stop()
            broker.close()
            worker.join()
            # Away for as long as the sum goes on without it.
            with self._lock:
                self._lock.wait_for(lambda: self._ended or self._summed > round_)
            self._start(name, engine)

        thread = threading.Thread(target=replace)
        self._back.append(thread)
        thread.start()
        worker._runs.stopping.wait()
        raise JobFailed("vanished")

    def _is_due(self, name: str, round_: int, step: str) -> bool:
        """Whether a party is to vanish at a step of a training round; drawn when the round is first heard of."""
        with self._lock:
            if round_ not in self._planned:
                self._planned.add(round_)
                for party in self._random.sample(self.spec.parties, self._vanishing):
                    self._plan[round_, party] = self._random.choice(STEPS)
            due = self._plan.get((round_, name)) == step
            if due:
                del self._plan[round_, name]
            return due

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """See vectors before they are masked, sums when they are uncovered, and messages before they are sent."""
        vanishing = self
        answer, total, send = parties_masked.Masking.answer, coordinator_masked.MaskedSums.sum, Post.send

        def seen(
            masking: parties_masked.Masking, order: Assignment, vector: Iterator[tuple[int, np.ndarray]], seconds: float
        ) -> Iterator[MaskedUpdate]:
            name = masking._session.party
            if order.task == "train":
                vanishing._round[name] = order.number
                if vanishing._is_due(name, order.number, "before"):
                    vanishing._vanish(name, "before")
            pieces = [(start, residues.copy()) for start, residues in vector]
            vanishing.record.vectors[order.window, order.slot, name] = np.concatenate([each for _, each in pieces])
            return answer(masking, order, iter(pieces), seconds)

        def summed(sums: coordinator_masked.MaskedSums, layout: SumLayout, members: Sequence[str]) -> Sum:
            window, slot = sums._window, sums._used - 1
            found = total(sums, layout, members)
            expected = np.zeros(layout.length, layout.ring.dtype)
            for party in found.survivors:
                expected += vanishing.record.vectors[window, slot, party]
            vanishing.record.exact.append(bool(np.array_equal(expected, found.total)))
            vanishing.record.survivors.append(len(found.survivors))
            with vanishing._lock:
                vanishing._summed += bool(layout.metrics)
                vanishing._lock.notify_all()
            return found

        def sent(post: Post, *envelopes: Any, **named: Any) -> None:
            send(post, *envelopes, **named)
            name, message = envelopes[0].sender, envelopes[0].payload
            step = _STEP_OF.get(type(message))
            # Not yet in the sums of columns.
            if step and name in vanishing._round and vanishing._is_due(name, vanishing._round[name], step):
                vanishing._vanish(name, step)

        parties_masked.Masking.answer = seen  # type: ignore[method-assign]
        coordinator_masked.MaskedSums.sum = summed  # type: ignore[method-assign]
        Post.send = sent  # type: ignore[method-assign]
        try:
            yield
        finally:
            parties_masked.Masking.answer = answer  # type: ignore[method-assign]
            coordinator_masked.MaskedSums.sum = total  # type: ignore[method-assign]
            Post.send = send  # type: ignore[method-assign]


_STEP_OF: dict[type[Message], str] = {MaskedUpdate: "update", RevealedShares: "reveal"}
