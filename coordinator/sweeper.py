"""The queues of jobs that have ended are deleted here, now or when those who still use them are done."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass

import structlog

from fedbus import codec, topology
from fedbus.algorithms import registry
from fedbus.broker.base import Broker
from fedbus.errors import BrokerError, ConfigError
from fedbus.store.base import Store

log = structlog.get_logger()

# When a queue that could not be deleted is looked at again, seconds; the last one again and again.
_AGAIN = (1.0, 5.0, 30.0, 300.0, 1800.0)
# What still waits for a party when a job has ended may be its model; after this time it is not waited for any more.
_KEPT_SECONDS = 3600.0
_ANSWER_SECONDS = 30.0


@dataclass(slots=True)
class _Left:
    """A queue that is to go.

    Attributes:
        due: when it is looked at next, and `filled_from` when it goes even with what it holds; both seconds since the
            epoch.
    """

    due: float
    filled_from: float
    attempts: int = 0


class Sweeper:
    """It looks at the queues of ended jobs until they are gone, or have expired.

    Args:
        name: the coordinator's.
    """

    def __init__(self, name: str, broker: Broker, store: Store) -> None:
        self._name = name
        self._broker = broker
        self._store = store
        self._changed = threading.Condition()
        self._queues: dict[str, _Left] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin, with the jobs of the ledger whose queues may be left by an earlier process."""
        since = time.time() - topology.JOB_QUEUE_EXPIRES_MS / 1000
        for record in self._store.jobs():
            if record.state.final and record.updated_at > since and not record.secret:
                try:
                    participants = registry.parse(codec.unpack(record.spec)).participants
                except ConfigError:
                    # Refused, so it never had queues, or of another version of this program.
                    continue
                self.add(record.job, participants, record.updated_at)
        self._thread.start()

    def stop(self) -> None:
        """Look no more; the next start goes on."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def add(self, job: str, participants: Sequence[str], ended_at: float | None = None) -> None:
        """Take note that a job has ended: its queues can go when nobody uses them."""
        now = time.time()
        kept = (now if ended_at is None else ended_at) + _KEPT_SECONDS
        with self._changed:
            for name in participants:
                # Nobody reads any more what the coordinator was sent.
                filled_from = 0.0 if name == self._name else kept
                self._queues.setdefault(topology.job_queue(name, job).name, _Left(now, filled_from))
            self._changed.notify_all()

    def left(self, job: str, party: str) -> None:
        """Take note that a party has seen the job's end, and needs its queue no more."""
        with self._changed:
            self._queues[topology.job_queue(party, job).name] = _Left(time.time(), 0.0)
            self._changed.notify_all()

    def _run(self) -> None:
        while (name := self._next()) is not None:
            queue = self._queues[name]
            gone = self._delete(name, filled=queue.filled_from <= time.time())
            with self._changed:
                # Where `left` has put another in its place meanwhile, that one is looked at.
                if self._queues[name] is not queue:
                    continue
                if gone:
                    del self._queues[name]
                else:
                    queue.due = time.time() + _AGAIN[min(queue.attempts, len(_AGAIN) - 1)]
                    queue.attempts += 1

    def _next(self) -> str | None:
        """The next queue that is due, once it is; None at the end."""
        with self._changed:
            while not self._stopping:
                name = min(self._queues, key=lambda each: self._queues[each].due, default=None)
                left = None if name is None else self._queues[name].due - time.time()
                if name is not None and left is not None and left <= 0:
                    return name
                self._changed.wait(left)
            return None

    def _delete(self, name: str, *, filled: bool) -> bool:
        try:
            return self._broker.delete(name, filled=filled).result(_ANSWER_SECONDS)
        except (BrokerError, NotInTime) as error:
            log.info("no answer about a queue that is to go; it is looked at again", queue=name, error=str(error))
            return False
