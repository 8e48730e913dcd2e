"""The queues of ended jobs go: at once, when those who use them are done, or at the coordinator's next start."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.sweeper import Sweeper
from fedbus import codec, topology
from fedbus.broker.base import Broker, Outgoing
from fedbus.broker.memory.broker import MemoryHub
from fedbus.job import JobState
from fedbus.store.sqlite import SqliteStore
from federation import synthetic

WAIT = 10.0
JOB = "job-1"
PARTICIPANTS = ("shop", "bank", "coordinator")


class Bench:
    """A coordinator's broker and ledger with one job that has ended, and whose queues are there."""

    def __init__(self, folder: Path) -> None:
        federation = synthetic(folder)
        federation.write_job()
        self.store = SqliteStore(folder / "coordinator.db")
        self.store.add_job(JOB, codec.pack(federation.spec().to_map()), JobState.SUBMITTED)
        self.store.set_state(JOB, JobState.FAILED, "because")
        self.hub = MemoryHub()
        self.broker: Broker = self.hub.connect("coordinator")
        self.broker.declare([topology.job_queue(name, JOB) for name in PARTICIPANTS])
        self.sweeper = Sweeper("coordinator", self.broker, self.store)

    def left(self) -> set[str]:
        return {name.split(".")[2] for name in self.hub.queues if name.endswith(JOB)}

    def becomes(self, *names: str) -> bool:
        """Whether only the queues of these are left before long."""
        reached = threading.Event()
        for _ in range(int(WAIT * 100)):
            if self.left() == set(names):
                return True
            reached.wait(0.01)
        return False


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr("coordinator.sweeper._AGAIN", (0.01,))
    bench = Bench(tmp_path)
    yield bench
    bench.sweeper.stop()
    bench.broker.close()
    bench.store.close()


def test_a_queue_that_is_used_at_the_end_goes_when_its_user_has_gone(bench: Bench) -> None:
    bank = bench.hub.connect("bank")
    reading = bank.consume(topology.job_queue("bank", JOB).name, lambda delivery: delivery.ack())
    bench.sweeper.start()
    bench.sweeper.add(JOB, PARTICIPANTS)
    assert bench.becomes("bank")
    reading.cancel()
    assert bench.becomes()
    bank.close()


def test_what_waits_for_a_party_is_kept_until_it_has_seen_the_end(bench: Bench) -> None:
    for name in ("bank", "coordinator"):
        bench.broker.publish(Outgoing(topology.DATA, f"shop.{name}.{JOB}", b"late", f"to-{name}")).result(WAIT)
    bench.sweeper.start()
    bench.sweeper.add(JOB, PARTICIPANTS)
    assert bench.becomes("bank")
    bench.sweeper.left(JOB, "bank")
    assert bench.becomes()


def test_the_queues_that_an_earlier_process_left_go_at_the_next_start(bench: Bench) -> None:
    bench.sweeper.start()
    # The job still has its secret: its end is to be told first, and the conductor adds it then.
    assert bench.left() == set(PARTICIPANTS)
    bench.sweeper.stop()
    bench.store.purge(JOB)
    bench.sweeper = Sweeper("coordinator", bench.broker, bench.store)
    bench.sweeper.start()
    assert bench.becomes()
