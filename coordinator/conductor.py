"""One job from its start to its end on all sides, whatever ends it: joining, the algorithm, the report, the outcome."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import structlog

from coordinator.results import Draft, finished, told
from coordinator.side import side_of
from fedbus import codec, topology
from fedbus.broker.base import Broker, Outgoing
from fedbus.crypto.engine import Engine
from fedbus.errors import (
    BrokerError,
    FedbusError,
    JobError,
    JobRefused,
    Nacked,
    PeerSilent,
    StoreError,
    StoreFull,
    Unroutable,
)
from fedbus.job import JobSpec, JobState
from fedbus.messages.control import Accepted, Inquire, Outcome, Start
from fedbus.messages.envelope import Envelope, Message
from fedbus.messages.fields import shortened
from fedbus.names import nearest
from fedbus.report import Report
from fedbus.retry import delay
from fedbus.seals import IdentitySeals
from fedbus.service.process import peak_memory
from fedbus.session.rollcall import roll_call
from fedbus.session.session import Session
from fedbus.store.base import Store
from fedbus.store.records import JobRecord

log = structlog.get_logger()

# A queue that is just being declared again is missing for a moment: how often a message for it is tried.
_TRIES = 5


class Cancelled(JobError):
    """The job was cancelled."""


class Conductor:
    """Conducts jobs, each in its caller's thread.

    Args:
        metrics_url: of this process, for the report.
        announce: called with a job whose state has changed.
        sweep: called with a job that has ended and its participants: its queues are needed no more.
        known: the parties of the coordinator's file; where it names some, queues are made for these only.
        stopping: set when the process stops; a job is then left as it is, to go on at the next start.
    """

    def __init__(
        self,
        broker: Broker,
        seals: IdentitySeals,
        store: Store,
        engine: Engine,
        metrics_url: str,
        announce: Callable[[str], None],
        sweep: Callable[[str, Sequence[str]], None],
        stopping: threading.Event,
        known: Sequence[str] = (),
    ) -> None:
        self._broker = broker
        self._seals = seals
        self._store = store
        self._engine = engine
        self._metrics_url = metrics_url
        self._announce = announce
        self._sweep = sweep
        self._stopping = stopping
        self._known = known

    def run(self, session: Session[JobSpec]) -> None:
        """Run a job to its end, or go on with it.

        The end is in the ledger before anybody hears of it, and the job is purged after everybody has: where the
        process dies between the two, the next start tells them.
        """
        record, began = self._record(session), time.monotonic()
        if not record.state.final:
            draft = Draft(session.spec, session.job)
            # A clock that was set meanwhile counts for what was before a restart only, and never backwards.
            before = 0.0 if record.started_at is None else max(0.0, time.time() - record.started_at)
            state, reason = self._ended(session, record, draft)
            report = draft.ended(state, shortened(reason), before + time.monotonic() - began)
            if not self._enter_end(session, state, report):
                return
        session.close()
        self._tell_end(session, self._record(session))

    def _ended(self, session: Session[JobSpec], record: JobRecord, draft: Draft) -> tuple[JobState, str]:
        """Conduct the job; how it ended. The draft gets what is known of it, however it does."""
        if record.state is JobState.CANCELLING:
            return JobState.CANCELLED, record.reason
        try:
            self._conduct(session, draft)
        except Cancelled as error:
            return JobState.CANCELLED, str(error)
        except FedbusError as error:
            if error.tells_text:
                return JobState.FAILED, str(error)
            log.error("the job cannot go on", job=session.job, reason=str(error))  # noqa: TRY400
            return JobState.FAILED, f"{session.coordinator}: {error.told}"
        except Exception as error:  # whatever went wrong, the job must end with a reason on all sides
            log.exception("internal error", job=session.job)
            reason = f"internal error at the coordinator ({type(error).__name__}); its log says more"
            return JobState.FAILED, reason
        return JobState.SUCCEEDED, ""

    def _conduct(self, session: Session[JobSpec], draft: Draft) -> None:
        spec = session.spec
        session.when_there_is_room(lambda: self._store.begin(session.job))
        queues = [topology.job_queue(name, session.job) for name in spec.participants]
        # For as long as it takes: a broker that is down is a delay, not the end of a job.
        self._broker.declare([*queues, *(topology.control_queue(party) for party in self._reached(spec))], timeout=None)
        session.open()
        joined = self._joined(session)
        draft.enter(joined)
        with roll_call(session, spec.parties, self._inquire):
            figures: dict[str, Any] = {}
            try:
                side_of(spec).coordinate(session, self._engine, figures)
            finally:
                draft.enter(figures)
            session.at(session.round + 1)
            results = finished(session)
        sent = {party: figures_of["bytes_sent"] for party, figures_of in results.items()}
        memory = {party: figures_of["peak_memory_bytes"] for party, figures_of in results.items()}
        # One that was started again since it joined may serve its page elsewhere.
        pages = {party: figures_of["metrics"] for party, figures_of in results.items() if "metrics" in figures_of}
        draft.enter(
            {
                **told(spec, results),
                "metrics": {**joined["metrics"], **pages, session.party: self._metrics_url},
                "bytes_sent": {**sent, session.party: session.bytes_sent},
                "peak_memory_bytes": {**memory, session.party: peak_memory()},
            }
        )
        draft.report = draft.report.cautioned()

    def _reached(self, spec: JobSpec) -> list[str]:
        """The parties whose queues are declared; of others an administrator may have declared them."""
        return [party for party in spec.parties if self._is_known(party)]

    def _is_known(self, party: str) -> bool:
        return not self._known or party in self._known

    def _joined(self, session: Session[JobSpec]) -> dict[str, Any]:
        """Have all parties join; what they said of themselves."""
        record = self._record(session)
        if session.resumed and record.report is not None:
            joined: dict[str, Any] = codec.unpack(record.report)
            return joined
        session.when_there_is_room(lambda: self._store.set_state(session.job, JobState.STARTING))
        self._announce(session.job)
        for party in session.spec.parties:
            start = self._start(session, accepted=session.attendance.arrived(party, Accepted))
            try:
                self._tell(session, party, start)
            except (Unroutable, Nacked) as error:
                if isinstance(error, Unroutable) and not self._is_known(party):
                    raise JobRefused(
                        f"{party} is not among this coordinator's `parties`, and has no queue; "
                        f"{nearest(party, self._known)} (a new party is entered in the coordinator's file)"
                    ) from error
                # Its queue is declared by this process, and was lost: the roll call below tells it again.
                log.warning("a party was not told to start yet", job=session.job, party=party, error=str(error))
        accepted: dict[str, Accepted] = {}
        parties, limits = session.spec.parties, session.spec.limits
        try:
            with roll_call(session, parties, self._start_again), session.patience(limits.join):
                for party in parties:
                    accepted[party] = session.recv(party, Accepted)
        except PeerSilent as error:
            absent = next(party for party in parties if party not in accepted)
            raise JobRefused(
                f"{absent} did not join within {limits.join:g} s (limits.join); is its fedbus-party running?"
            ) from error
        joined = {
            "rows": {party: message.rows for party, message in accepted.items()},
            "columns": {party: message.columns for party, message in accepted.items()},
            "metrics": {session.party: self._metrics_url, **{p: m.metrics for p, m in accepted.items()}},
        }
        packed = codec.pack(joined)
        session.when_there_is_room(lambda: self._store.set_state(session.job, JobState.RUNNING, report=packed))
        self._announce(session.job)
        return joined

    def _enter_end(self, session: Session[JobSpec], state: JobState, report: Report) -> bool:
        """Enter the end in the ledger, however long its disk is full; False where the process stops before that."""
        packed, attempt = codec.pack(report.to_map()), 0
        while not self._stopping.is_set():
            try:
                self._store.set_state(session.job, state, report.reason, packed)
            except StoreError as error:
                attempt += 1
                log.error("the end of a job cannot be entered; trying again", job=session.job, error=str(error))  # noqa: TRY400
                self._stopping.wait(delay(attempt))
                continue
            self._announce(session.job)
            log.info("job ended", job=session.job, state=state.value, reason=report.reason)
            return True
        return False

    def _tell_end(self, session: Session[JobSpec], record: JobRecord) -> None:
        for party in session.spec.parties:
            try:
                self._tell(session, party, Outcome(record.state.value, record.reason))
            except BrokerError as error:
                # It asks the coordinator's process once it has heard nothing for a while, as often as it takes, and is
                # answered from the ledger: `Service._asked`.
                log.warning("a party was not told how the job ended", job=session.job, party=party, error=str(error))
        if not self._stopping.is_set():
            # Where the disk is full a later start does it.
            with contextlib.suppress(StoreFull):
                self._store.purge(session.job)
            self._sweep(session.job, session.spec.participants)

    def _tell(self, session: Session[JobSpec], party: str, message: Message) -> None:
        """Send a control message; returns when the broker has it, however long it is away, or when the process stops.

        Raises:
            Unroutable: there is no queue; of a known party not at several tries.
            BrokerError: the broker refuses it.
        """
        attempt = 0
        while not self._stopping.is_set():
            future = self._send(session, party, message, wait=True)
            try:
                self._await(future)
            except Unroutable:
                attempt += 1
                if attempt == _TRIES or not self._is_known(party):
                    raise
                self._stopping.wait(delay(attempt))
            else:
                return

    def _await(self, future: Future[None]) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                future.result(1.0)
                return

    def _start_again(self, session: Session[JobSpec], party: str) -> None:
        """Tell a party again to start, which may have lost its queue with what was in it; it begins a job once."""
        if not session.attendance.arrived(party, Accepted):
            log.info("party has not joined; telling it again", job=session.job, party=party)
            self._send(session, party, self._start(session))

    def _inquire(self, session: Session[JobSpec], party: str) -> None:
        """Ask a silent party's process whether it has the job; it answers on the job's queue where it has not."""
        log.info("party silent; asking whether it has the job", job=session.job, party=party)
        self._send(session, party, Inquire())

    def _start(self, session: Session[JobSpec], *, accepted: bool = False) -> Start:
        owner = self._record(session).owner
        signature = self._store.proofs(session.job).get(owner)
        if signature is None:
            raise StoreError(f"{self._store.place}: the signature of job {session.job} by {owner} is missing")
        return Start(session.spec.to_map(), owner, signature, accepted)

    def _send(self, session: Session[JobSpec], party: str, message: Message, *, wait: bool = False) -> Future[None]:
        return tell(self._broker, self._seals, Envelope(session.job, session.party, party, message), wait=wait)

    def _record(self, session: Session[JobSpec]) -> JobRecord:
        record = self._store.job(session.job)
        if record is None:
            raise StoreError(f"{self._store.place}: job {session.job} is not in the ledger")
        return record


def tell(broker: Broker, seals: IdentitySeals, envelope: Envelope, *, wait: bool = False) -> Future[None]:
    """Send a control message; see Broker.publish."""
    key = topology.control_key(envelope.recipient, envelope.job, envelope.kind)
    return broker.publish(Outgoing(topology.CONTROL, key, codec.encode(envelope, seals), envelope.id), wait=wait)
