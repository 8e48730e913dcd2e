"""The long-running party: a consumer of its control queue that runs each job it consents to in a thread of its own.

A job whose process dies goes on at the next start from its last checkpoint. Heavy arithmetic runs in child
processes or in threads that hold no lock, network I/O in the broker's own thread, so that neither keeps the other
waiting.
"""

from __future__ import annotations

import contextlib
import functools
from concurrent.futures import CancelledError, Future
from typing import Any

import structlog

from fedbus import codec, topology
from fedbus.algorithms import registry
from fedbus.broker.base import Broker, Delivery, Subscription
from fedbus.credentials import Credentials
from fedbus.crypto.engine import Engine
from fedbus.errors import (
    ConfigError,
    DecodeError,
    FedbusError,
    JobFailed,
    JobRefused,
    PeerSilent,
    ProtocolError,
    StoreError,
)
from fedbus.identity import Role
from fedbus.job import JobState
from fedbus.messages.control import Failed, Inquire, Notice, Outcome, Start
from fedbus.messages.envelope import Envelope
from fedbus.messages.fields import shortened
from fedbus.refusals import Refusals
from fedbus.seals import IdentitySeals, check_signed
from fedbus.service.runs import Run, Runs
from fedbus.session.events import Events
from fedbus.session.rollcall import roll_call
from fedbus.session.room import FULL, Holding
from fedbus.session.session import Session
from fedbus.settings import PartySettings
from fedbus.store.base import Store
from fedbus.store.missing import end_what_is_missing
from fedbus.store.records import PROVISIONAL
from parties import participation
from parties.approval import Approvals
from parties.policy import Policy
from parties.replies import Replies, coordinator_of, told
from parties.signing import Signing

log = structlog.get_logger()


class _Run(Run):
    """One job of this party, which ends by the coordinator's word."""

    def __init__(self, session: Session[Any]) -> None:
        super().__init__(session)
        self.outcome: Future[Outcome] = Future()

    def interrupt(self) -> None:
        super().interrupt()
        self.outcome.cancel()


class Worker:
    """A party's process, which takes part in jobs.

    Args:
        settings: the party file.
        metrics_url: of this process, for the report.
    """

    def __init__(self, settings: PartySettings, broker: Broker, store: Store, engine: Engine, metrics_url: str) -> None:
        self.name = settings.name
        self._settings, self._policy = settings, Policy.of(settings)
        self._broker = broker
        self._store = store
        self._engine = engine
        self._metrics_url = metrics_url
        self._credentials = Credentials.of_member(settings, Role.PARTY)
        self._seals = IdentitySeals(self._credentials)
        self._events = Events(broker, self._seals)
        self._replies = Replies(broker, self._seals, self._events)
        self._runs = Runs(
            self._credentials,
            store,
            broker,
            self._events,
            verify_sender=settings.broker.verify_sender,
            make=_Run,
            work=self._work,
            refuses="this party's version of fedbus refuses the job",
            ended=self._tell_end,
        )
        self._holding = Holding(self._control, self._tell_of_waiting)
        self._approvals = Approvals.of(settings)
        self._signing = Signing(store.audit, self._credentials)
        self._refusals = Refusals("control message")
        self._subscription: Subscription | None = None

    def start(self) -> None:
        """Take up the jobs that a stop or a crash interrupted, and wait for more."""
        for record in end_what_is_missing(self._store, self.name):
            ended = self._store.job(record.job)
            if ended is not None:
                self._replies.refuse(record.job, coordinator_of(record), ended.reason.removeprefix(f"{self.name}: "))
        self._signing.start()
        unfinished = self._store.unfinished()
        self._approvals.keep_only([record.job for record in unfinished])
        for record in unfinished:
            if record.state.final:
                self._store.purge(record.job)
        self._runs.take_up(record for record in unfinished if not record.state.final)
        self._runs.count()
        self._subscription = self._broker.consume(topology.control_queue(self.name).name, self._holding.take)

    def stop(self) -> None:
        """Stop working; unfinished jobs go on at the next start."""
        self._runs.stopping.set()
        self._holding.close()
        if self._subscription is not None:
            self._subscription.cancel()
        self._runs.stop()
        self._signing.stop()

    def join(self) -> None:
        """See Runs."""
        self._runs.join()
        # Jobs enter what they do until they have come to rest.
        self._signing.sign()

    # What the coordinator says.

    def _control(self, delivery: Delivery) -> None:
        try:
            if self._settings.broker.verify_sender and delivery.user is None:
                raise DecodeError("control message by nobody: it does not say who published it", why="publisher")
            envelope = self._opened(delivery)
            match envelope.payload:
                case Start():
                    self._begin(envelope.job, envelope.sender, envelope.payload)
                case Inquire():
                    self._answer(envelope.job, envelope.sender)
                case Outcome():
                    self._end(envelope.job, envelope.sender, envelope.payload)
                case _:
                    raise DecodeError(f"{envelope.kind} message on the control queue")
        except (ProtocolError, JobRefused) as error:
            self._refusals.refuse(delivery, error)
            return
        self._runs.count()
        delivery.ack()

    def _tell_of_waiting(self, delivery: Delivery) -> None:
        """Tell the coordinator, which waits for an answer, why there is none yet."""
        with contextlib.suppress(DecodeError):
            envelope = self._opened(delivery)
            self._replies.say(envelope.job, envelope.sender, Notice(FULL))

    def _opened(self, delivery: Delivery) -> Envelope:
        return codec.decode(delivery.body, self._seals, functools.partial(self._check_address, delivery))

    def _check_address(self, delivery: Delivery, envelope: Envelope) -> None:
        if envelope.recipient != self.name:
            raise DecodeError(f"{envelope.kind} message for {envelope.recipient}", why="address")
        if self._settings.broker.verify_sender and delivery.user != envelope.sender:
            raise DecodeError(f"{envelope.kind} message of {envelope.sender} by {delivery.user}", why="publisher")

    def _begin(self, job: str, sender: str, message: Start) -> None:
        try:
            spec = registry.parse(message.spec)
        except ConfigError as error:
            # The text is about the job alone, which its submitter wrote.
            self._refuse(job, sender, f"this party's version of fedbus refuses the job: {error}")
            return
        if sender != spec.coordinator or self.name not in spec.parties:
            raise JobRefused(f"{sender} is not the coordinator of job {job}, or {self.name} has no part in it")
        try:
            check_signed(self._credentials.roster, job, message.owner, message.signature, spec)
        except ProtocolError as error:
            self._refuse(job, sender, f"this party takes part in no job that its submitter did not sign: {error}")
            return
        if message.accepted and self._store.job(job) is None:
            self._replies.refuse_unknown(job, sender)
        elif self._store.add_job(job, codec.pack(message.spec), JobState.RUNNING, owner=message.owner):
            log.info("job received", job=job, algorithm=spec.algorithm)
            self._runs.begin(job)

    def _refuse(self, job: str, coordinator: str, reason: str) -> None:
        self._enter_refusal(job, shortened(reason), refused=True)
        self._replies.refuse(job, coordinator, reason)

    def _answer(self, job: str, sender: str) -> None:
        """The coordinator has not heard of this party for a while: say so where the job does not go on here."""
        record = self._store.job(job)
        if record is None:
            self._replies.refuse_unknown(job, sender)
        elif coordinator_of(record) != sender:
            raise JobRefused(f"{sender} asks about job {job}, which it does not coordinate here")
        elif record.state.final and self._runs.get(job) is None:
            self._replies.refuse(job, sender, record.reason or f"the job has ended here: {record.state.value}")

    def _end(self, job: str, sender: str, outcome: Outcome) -> None:
        record, run = self._store.job(job), self._runs.get(job)
        if record is None or coordinator_of(record) != sender:
            raise JobRefused(f"{sender} cannot end job {job}, which it does not coordinate here")
        if outcome.state not in [state.value for state in JobState if state.final]:
            raise DecodeError(f"outcome of job {job} that is no end: {outcome.state}")
        without = outcome.state == JobState.SUCCEEDED and self._store.model(job) is None
        # A party that was late has the last model still to come, in the order that waits for it.
        late = without and run is not None and not record.state.final
        if not late and not without:
            self._enter_end(job, outcome)
        elif not late:
            log.warning("the job succeeded without this party, which has no model of it", job=job)
            self._tell_end(job)
        if run is not None:
            if not run.outcome.done():
                run.outcome.set_result(outcome)
            if not late:
                run.session.fail(JobFailed(outcome.reason or f"the coordinator ended the job: {outcome.state}"))

    def _enter_end(self, job: str, outcome: Outcome) -> None:
        if self._store.set_state(job, JobState(outcome.state), outcome.reason):
            log.info("job ended", job=job, state=outcome.state, reason=outcome.reason)
        self._tell_end(job)

    def _tell_end(self, job: str) -> None:
        """Tell whoever waits for this party's end what the ledger has, whatever it was last told to enter."""
        if (record := self._store.job(job)) is not None:
            self._replies.announce(record)

    # Jobs.

    def _work(self, run: _Run) -> None:
        session, job = run.session, run.session.job
        # Closed before the end is entered, which nothing that is journalled may come after.
        with contextlib.closing(session), roll_call(session, (session.coordinator,), self._replies.inquire):
            outcome = self._seen_through(run)
        if outcome is not None:
            self._runs.when_there_is_room(lambda: self._enter_own_end(job, outcome))
            self._runs.when_there_is_room(lambda: self._store.purge(job))
            self._approvals.forget(job)
            self._replies.depart(job, session.coordinator)
        self._runs.count()

    def _enter_own_end(self, job: str, outcome: Outcome) -> None:
        """Enter the end of a job that this party learnt of before it had the model."""
        if (record := self._store.job(job)) is None or record.state.final:
            return
        if outcome.state == JobState.SUCCEEDED and self._store.model(job) is None:
            outcome = Outcome(JobState.FAILED.value, "the job succeeded without this party, which has no model of it")
        self._enter_end(job, outcome)

    def _seen_through(self, run: _Run) -> Outcome | None:
        session = run.session
        try:
            participation.take_part(session, self._engine, self._store, self._settings, self._policy, self._metrics_url)
        except Exception as error:  # whatever went wrong, the job must end with a reason on all sides
            if not run.outcome.done() and not self._runs.stopping.is_set():
                unexpected = not isinstance(error, FedbusError)
                log.error(  # noqa: TRY400
                    "cannot go on; the coordinator is told", job=session.job, reason=str(error), exc_info=unexpected
                )
                reason = shortened(told(error, everything=self._settings.simulation))
                self._enter_refusal(session.job, reason, refused=isinstance(error, JobRefused))
                session.report_failure(Failed(reason))
        return self._outcome(run)

    def _enter_refusal(self, job: str, reason: str, *, refused: bool) -> None:
        """Enter into the audit log that this party does not go on with a job, and what others are told of why."""
        # Where the store cannot be written the job ends all the same, as it has to.
        with contextlib.suppress(StoreError):
            self._store.audit.enter("refused" if refused else "failed", job, reason=reason)

    def _outcome(self, run: _Run) -> Outcome | None:
        """Wait for the coordinator's word; without one the job has failed, unless this process is stopping."""
        job, end = run.session.job, JobState.FAILED
        try:
            return run.session.wait_for_end(run.outcome)
        except PeerSilent as error:
            reason = str(error)
            # Should the coordinator say yet how the job ended, its word replaces this.
            self._runs.when_there_is_room(lambda: self._store.set_state(job, end, reason, PROVISIONAL))
            self._tell_end(job)
            return Outcome(end.value, reason)
        except CancelledError:
            return None
