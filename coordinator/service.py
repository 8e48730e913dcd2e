"""The long-running coordinator: jobs in from the queue, each run in a thread of its own, events out.

A job whose process dies goes on at the next start from its last checkpoint.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import structlog

from coordinator import linear
from fedbus import codec, jobs, metrics, topology
from fedbus.broker.base import Broker, Delivery, Outgoing, Subscription
from fedbus.crypto.engine import Engine
from fedbus.errors import ConfigError, DecodeError, FedbusError, JobError, JobFailed, JobRefused, PeerSilent
from fedbus.jobs import JobState
from fedbus.messages import Accepted, Cancel, Envelope, Finished, Message, Outcome, Query, Start, StateChanged, Submit
from fedbus.post import publish_event
from fedbus.session import Session
from fedbus.settings import CoordinatorSettings
from fedbus.store import Store

log = structlog.get_logger()

_CONFIRM_SECONDS = 60.0


class _Cancelled(JobError):
    """The job was cancelled by a client."""


class Service:
    """The coordinator."""

    def __init__(
        self, settings: CoordinatorSettings, broker: Broker, store: Store, engine: Engine, metrics_url: str
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._broker = broker
        self._store = store
        self._engine = engine
        self._metrics_url = metrics_url
        self._sessions: dict[str, Session] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._announcing = threading.Lock()
        self._stopping = threading.Event()
        self._subscription: Subscription | None = None

    def start(self) -> None:
        """Declare the topology, take up interrupted jobs, and wait for more.

        Raises:
            AccessRefused: the broker's user may not declare.
        """
        control = [topology.control_queue(party) for party in self._settings.parties]
        self._broker.declare([topology.dead_queue(), topology.jobs_queue(), *control], timeout=None)
        for record in self._store.unfinished():
            log.info("job goes on", job=record.job)
            self._run(record.job)
        self._count()
        self._subscription = self._broker.consume(topology.JOBS_QUEUE, self._request)

    def stop(self) -> None:
        """Stop working; unfinished jobs go on at the next start."""
        self._stopping.set()
        if self._subscription is not None:
            self._subscription.cancel()
        for session in list(self._sessions.values()):
            session.fail(JobFailed("the process was stopped"))
        for thread in list(self._threads.values()):
            thread.join()

    # Requests of clients.

    def _request(self, delivery: Delivery) -> None:
        try:
            envelope = codec.decode(delivery.body)
            match envelope.payload:
                case Submit(spec):
                    self._submit(envelope.job, spec)
                case Query():
                    self._announce(envelope.job)
                case Cancel():
                    self._cancel(envelope.job)
                case _:
                    raise DecodeError(f"{envelope.kind} message on the job queue")  # noqa: TRY301
        except DecodeError as error:
            log.warning("request refused; it is in the dead-letter queue", reason=str(error), user=delivery.user)
            delivery.dead_letter(str(error))
            return
        self._count()
        delivery.ack()

    def _submit(self, job: str, fields: dict[str, Any]) -> None:
        if not self._store.add_job(job, codec.pack(fields), JobState.SUBMITTED):
            return
        try:
            spec = jobs.parse(fields)
            if spec.coordinator != self.name:
                raise ConfigError(f"job: coordinator: {spec.coordinator!r} is named, this is {self.name!r}")  # noqa: TRY301
        except ConfigError as error:
            log.warning("job refused", job=job, reason=str(error))
            self._store.set_state(job, JobState.FAILED, str(error))
            self._announce(job)
            return
        log.info("job received", job=job, algorithm=spec.algorithm, parties=list(spec.parties))
        self._announce(job)
        self._run(job)

    def _cancel(self, job: str) -> None:
        session = self._sessions.get(job)
        if session is not None:
            session.fail(_Cancelled("cancelled by a client"))
        else:
            self._announce(job)

    def _announce(self, job: str) -> None:
        """Publish the job's state as the ledger has it."""
        # Reading and publishing are one step: a watcher must not see an earlier state after a later one.
        with self._announcing:
            record = self._store.job(job)
            if record is None:
                message = StateChanged("unknown", f"this coordinator has no job {job}")
            else:
                report = codec.unpack(record.report) if record.report and record.state.final else None
                message = StateChanged(record.state.value, record.reason, report)
            publish_event(self._broker, Envelope(job, self.name, self.name, message))

    # Running a job.

    def _run(self, job: str) -> None:
        verify = self._settings.broker.verify_sender
        session = Session(job, self.name, store=self._store, broker=self._broker, verify_sender=verify)
        self._sessions[job] = session
        thread = self._threads[job] = threading.Thread(target=self._work, args=(session,), name=f"job {job}")
        thread.start()

    def _work(self, session: Session) -> None:
        job = session.job
        state, reason, report = JobState.FAILED, "", None
        try:
            report = self._conduct(session)
            state = JobState.SUCCEEDED
        except _Cancelled as error:
            state, reason = JobState.CANCELLED, str(error)
        except FedbusError as error:
            reason = str(error)
        except Exception as error:  # whatever went wrong, the job must end with a reason on all sides
            log.exception("internal error", job=job)
            reason = f"internal error at the coordinator ({type(error).__name__}); its log says more"
        finally:
            session.close()
            del self._sessions[job]
        if not self._stopping.is_set():
            self._finish(session, state, reason, report)
        del self._threads[job]

    def _conduct(self, session: Session) -> dict[str, Any]:
        spec, began = session.spec, time.time()
        queues = [topology.job_queue(name, session.job) for name in spec.participants]
        self._broker.declare([*queues, *(topology.control_queue(party) for party in spec.parties)])
        session.open()
        joined = self._joined(session)
        figures = linear.coordinate(session, self._engine)
        session.at(session.round + 1)
        results = {party: session.recv(party, Finished).figures for party in spec.parties}
        guest = results[spec.guest.party]
        return {
            "job": session.job,
            "name": spec.name,
            "algorithm": spec.algorithm,
            "state": JobState.SUCCEEDED.value,
            **joined,
            **figures,
            **{key: guest[key] for key in ("train", "test") if key in guest},
            "bytes_sent": {**{p: r["bytes_sent"] for p, r in results.items()}, self.name: session.bytes_sent},
            "seconds": time.time() - began,
        }

    def _joined(self, session: Session) -> dict[str, Any]:
        """Have all parties join; what they said of themselves."""
        record = self._store.job(session.job)
        if session.resumed and record is not None and record.report is not None:
            joined: dict[str, Any] = codec.unpack(record.report)
            return joined
        self._store.set_state(session.job, JobState.STARTING)
        self._announce(session.job)
        for party in session.spec.parties:
            self._tell(session, party, Start(session.spec.to_map()))
        accepted: dict[str, Accepted] = {}
        try:
            with session.patience(session.spec.limits.join):
                for party in session.spec.parties:
                    accepted[party] = session.recv(party, Accepted)
        except PeerSilent as error:
            absent = next(party for party in session.spec.parties if party not in accepted)
            raise JobRefused(
                f"{absent} did not join within {session.spec.limits.join:g} s (limits.join); "
                "is its fedbus-party running?"
            ) from error
        joined = {
            "rows": {party: message.rows for party, message in accepted.items()},
            "columns": {party: message.columns for party, message in accepted.items()},
            "metrics": {self.name: self._metrics_url, **{p: m.metrics for p, m in accepted.items()}},
        }
        self._store.set_state(session.job, JobState.RUNNING, report=codec.pack(joined))
        self._announce(session.job)
        return joined

    def _finish(self, session: Session, state: JobState, reason: str, report: dict[str, Any] | None) -> None:
        for party in session.spec.parties:
            try:
                self._tell(session, party, Outcome(state.value, reason))
            except FedbusError as error:
                # It learns by its own limits.silence; the job's end does not wait for it.
                log.warning("a party was not told how the job ended", job=session.job, party=party, error=str(error))
        report = report or {"job": session.job, "name": session.spec.name, "state": state.value, "reason": reason}
        self._store.set_state(session.job, state, reason, codec.pack(report))
        self._store.purge(session.job)
        self._count()
        self._announce(session.job)
        log.info("job ended", job=session.job, state=state.value, reason=reason)
        for name in session.spec.participants:
            self._broker.delete(topology.job_queue(name, session.job).name)

    def _tell(self, session: Session, party: str, message: Message) -> None:
        envelope = Envelope(session.job, self.name, party, message)
        key = topology.control_key(party, session.job, envelope.kind)
        outgoing = Outgoing(topology.CONTROL, key, codec.encode(envelope), envelope.id)
        self._broker.publish(outgoing).result(_CONFIRM_SECONDS)

    def _count(self) -> None:
        for state, count in self._store.count_jobs().items():
            metrics.jobs.labels(state.value).set(count)
