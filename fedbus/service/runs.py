"""A coordinator or a party has jobs in hand, each in a thread of its own, from its start to a stop."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import structlog

from fedbus import metrics
from fedbus.broker.base import Broker
from fedbus.credentials import Credentials
from fedbus.errors import ConfigError, JobFailed
from fedbus.job import JobState
from fedbus.session.events import Events
from fedbus.session.session import Session
from fedbus.store.base import Store
from fedbus.store.records import JobRecord

log = structlog.get_logger()

# A stop waits this long for jobs to come to rest before arithmetic and connection are taken from them.
GRACE_SECONDS = 5.0


class Run:
    """One job in its thread."""

    def __init__(self, session: Session[Any]) -> None:
        self.session = session
        self.thread: threading.Thread

    @property
    def job(self) -> str:
        return self.session.job

    def interrupt(self) -> None:
        """End what the thread waits for: the process stops, and the job goes on at the next start."""
        self.session.fail(JobFailed("the process was stopped"))


R = TypeVar("R", bound=Run)


class Runs(Generic[R]):
    """The jobs that a process has in hand.

    Args:
        credentials: of this participant.
        events, verify_sender: see Session.
        make: gives the run of a session.
        work: sees a run through, in its thread. After an error that it raises the job is as the ledger has it.
        refuses: the beginning of the reason of a job that another version of this program entered.
        ended: called with such a job once its end is in the ledger.

    Attributes:
        stopping: set when the process stops.
    """

    def __init__(
        self,
        credentials: Credentials,
        store: Store,
        broker: Broker,
        events: Events,
        *,
        verify_sender: bool,
        make: Callable[[Session[Any]], R],
        work: Callable[[R], None],
        refuses: str,
        ended: Callable[[str], None],
    ) -> None:
        self.stopping = threading.Event()
        self._credentials = credentials
        self._store = store
        self._broker = broker
        self._events = events
        self._verify_sender = verify_sender
        self._make = make
        self._work = work
        self._refuses = refuses
        self._ended = ended
        self._lock = threading.Lock()
        self._runs: dict[str, R] = {}

    def get(self, job: str) -> R | None:
        """Return the run of a job; None where it is not in hand."""
        with self._lock:
            return self._runs.get(job)

    def take_up(self, records: Iterable[JobRecord]) -> None:
        """Go on with jobs that a stop or a crash interrupted."""
        for record in records:
            log.info("job goes on", job=record.job)
            self.begin(record.job)

    def begin(self, job: str) -> None:
        """Begin with a job of the ledger. One that this version of the program cannot read fails."""
        try:
            session: Session[Any] = Session(
                *(job, self._credentials.name),
                store=self._store,
                broker=self._broker,
                credentials=self._credentials,
                events=self._events,
                verify_sender=self._verify_sender,
            )
        except ConfigError as error:
            # Entered by another version of this program.
            log.error("a job of another version cannot go on", job=job, reason=str(error))  # noqa: TRY400
            self._store.set_state(job, JobState.FAILED, f"{self._refuses}: {error}")
            self._store.purge(job)
            self._ended(job)
            return
        run = self._make(session)
        run.thread = threading.Thread(target=self._see_through, args=(run,), name=f"job {job}")
        with self._lock:
            self._runs[job] = run
            run.thread.start()

    def count(self) -> None:
        """Have /metrics say how many jobs are in each state."""
        metrics.count_jobs(self._store.count_jobs().items())

    def stop(self) -> None:
        """Interrupt all jobs, and give them GRACE_SECONDS to come to rest."""
        self.stopping.set()
        runs = self._interrupt()
        deadline = time.monotonic() + GRACE_SECONDS
        for run in runs:
            run.thread.join(max(0.0, deadline - time.monotonic()))

    def join(self) -> None:
        """Wait for all jobs to have come to rest, once arithmetic and broker are closed and nothing can hold them."""
        # A last message may have begun a job since `stop`.
        for run in self._interrupt():
            run.thread.join()

    def _interrupt(self) -> list[R]:
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            run.interrupt()
        return runs

    def _see_through(self, run: R) -> None:
        try:
            # Closed whatever happens: peers wait no longer than the job allows, and nothing is journalled any more.
            with contextlib.closing(run.session):
                self._work(run)
        except Exception:
            # Not ended: the ledger has it as it was, and the next start goes on.
            log.exception("internal error; the job goes on when this process is started again", job=run.job)
        finally:
            with self._lock:
                del self._runs[run.job]
