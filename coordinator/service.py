"""The long-running coordinator: requests in from the queue, each job in a thread of its own, events out.

A job whose process dies goes on at the next start from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import functools
import threading

import structlog

from coordinator.conductor import Cancelled, Conductor, tell
from coordinator.ledger import Ledger, told_report
from coordinator.sweeper import Sweeper
from fedbus import codec, topology
from fedbus.algorithms import registry
from fedbus.broker.base import Broker, Delivery, Subscription
from fedbus.credentials import Credentials
from fedbus.crypto.engine import Engine
from fedbus.errors import ConfigError, DecodeError, ProtocolError, StoreError
from fedbus.identity import Role
from fedbus.job import UNKNOWN, JobState
from fedbus.messages.control import Cancel, Departed, Inquire, Notice, Progress, Query, StateChanged, Submit
from fedbus.messages.envelope import Envelope, Message
from fedbus.messages.fields import shortened
from fedbus.messages.ledger import ListJobs, ShowJob
from fedbus.refusals import Refusals
from fedbus.seals import IdentitySeals, check_signed
from fedbus.service.runs import Run, Runs
from fedbus.session.events import Events
from fedbus.session.room import Holding
from fedbus.settings import CoordinatorSettings
from fedbus.store.base import Store
from fedbus.store.missing import end_what_is_missing

log = structlog.get_logger()

_WAITS = "the coordinator's store cannot be written, its disk may be full; your request waits until it can"


class Service:
    """The coordinator's process, which takes jobs and conducts them.

    Args:
        metrics_url: of this process, for the report.
    """

    def __init__(
        self, settings: CoordinatorSettings, broker: Broker, store: Store, engine: Engine, metrics_url: str
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._broker = broker
        self._store = store
        self._credentials = Credentials.of_member(settings, Role.COORDINATOR)
        self._seals = IdentitySeals(self._credentials)
        self._events = Events(broker, self._seals, settings.operators)
        self._announcing = threading.Lock()
        self._sweeper = Sweeper(self.name, broker, store)
        self._runs = Runs(
            self._credentials,
            store,
            broker,
            self._events,
            verify_sender=settings.broker.verify_sender,
            make=Run,
            work=lambda run: self._conductor.run(run.session),
            refuses="this version of the coordinator refuses it",
            ended=self.announce,
        )
        self._conductor = Conductor(
            broker,
            self._seals,
            store,
            engine,
            metrics_url,
            self.announce,
            self._sweeper.add,
            self._runs.stopping,
            settings.parties,
        )
        self._ledger = Ledger(store, self._is_operator, self._latest)
        # Submissions that wait for room on the disk.
        self._held: dict[str, str] = {}
        self._holding = Holding(self._enter, self._tell_of_waiting)
        self._refusals = Refusals("request")
        self._subscriptions: list[Subscription] = []

    def start(self) -> None:
        """Declare the topology, take up interrupted jobs, and wait for more.

        Raises:
            AccessRefused: the broker's user may not declare.
        """
        control = [topology.control_queue(party) for party in self._settings.parties]
        self._broker.declare(
            [topology.dead_queue(), topology.jobs_queue(), topology.questions_queue(self.name), *control], timeout=None
        )
        end_what_is_missing(self._store, self.name)
        self._runs.take_up(self._store.unfinished())
        self._runs.count()
        self._sweeper.start()
        self._subscriptions = [
            self._broker.consume(topology.JOBS_QUEUE, self._request),
            self._broker.consume(topology.questions_queue(self.name).name, self._asked),
        ]

    def stop(self) -> None:
        """Stop working; unfinished jobs go on at the next start."""
        self._runs.stopping.set()
        self._holding.close()
        self._sweeper.stop()
        for subscription in self._subscriptions:
            subscription.cancel()
        self._runs.stop()

    def join(self) -> None:
        """See Runs."""
        self._runs.join()

    # Requests of clients.

    def _request(self, delivery: Delivery) -> None:
        try:
            self._check_publisher(delivery)
            envelope = self._opened(delivery)
            match envelope.payload:
                case Submit() | Cancel():
                    self._holding.take(delivery)
                    return
                case Query():
                    self._answer(envelope)
                case ListJobs() as wanted:
                    self._reply(envelope, self._ledger.list(envelope.sender, wanted))
                case ShowJob():
                    self._reply(envelope, self._ledger.show(envelope.sender, envelope.job))
                case _:
                    raise DecodeError(f"{envelope.kind} message on the job queue")  # noqa: TRY301
        except DecodeError as error:
            self._refuse(error, delivery)
            self._refusals.refuse(delivery, error)
            return
        except StoreError as error:
            log.error("a client's question cannot be answered", job=envelope.job, error=str(error))  # noqa: TRY400
        delivery.ack()

    def _check_publisher(self, delivery: Delivery) -> None:
        """What can be said of a request before time is spent on reading it."""
        if self._settings.broker.verify_sender and delivery.user is None:
            raise DecodeError("request by nobody: the message does not say which user published it", why="publisher")
        if delivery.size > codec.most_bytes(Submit.kind):
            most = codec.most_bytes(Submit.kind)
            raise DecodeError(f"request of {delivery.size} bytes is over the limit of {most}", why="size")

    def _enter(self, delivery: Delivery) -> None:
        """Enter a submission or a cancellation in the ledger, then acknowledge it."""
        envelope = self._opened(delivery)
        if isinstance(envelope.payload, Submit):
            self._submit(envelope.job, envelope.payload, envelope.sender)
            self._held.pop(envelope.job, None)
        else:
            self._cancel(envelope.job, envelope.sender)
        delivery.ack()

    def _tell_of_waiting(self, delivery: Delivery) -> None:
        envelope = self._opened(delivery)
        if isinstance(envelope.payload, Submit):
            self._held[envelope.job] = envelope.sender
        self._events.publish(envelope.job, envelope.sender, Notice(_WAITS))

    def _asked(self, delivery: Delivery) -> None:
        """A party has not heard of a job for a while and is told how it ended, or that there is none; or it is done."""
        try:
            envelope = self._opened(delivery)
            if not isinstance(envelope.payload, Inquire | Departed):
                raise DecodeError(f"{envelope.kind} message on the coordinator's queue of questions")  # noqa: TRY301
        except DecodeError as error:
            self._refusals.refuse(delivery, error)
            return
        try:
            if isinstance(envelope.payload, Departed):
                if self._ledger.has_ended(envelope.job, envelope.sender):
                    self._sweeper.left(envelope.job, envelope.sender)
                outcome = None
            else:
                outcome = self._ledger.outcome(envelope.job, envelope.sender)
        except StoreError as error:
            # It asks again.
            log.error("a party's question cannot be answered", job=envelope.job, error=str(error))  # noqa: TRY400
        else:
            if outcome is not None:
                log.info("party told how a job ended", job=envelope.job, party=envelope.sender, state=outcome.state)
                tell(self._broker, self._seals, Envelope(envelope.job, self.name, envelope.sender, outcome))
        delivery.ack()

    def _opened(self, delivery: Delivery) -> Envelope:
        return codec.decode(delivery.body, self._seals, functools.partial(self._check_address, delivery))

    def _check_address(self, delivery: Delivery, envelope: Envelope) -> None:
        if envelope.recipient != self.name:
            what = f"{envelope.kind} request for coordinator {envelope.recipient}, this is {self.name}"
            raise DecodeError(what, why="address")
        if self._settings.broker.verify_sender and delivery.user != envelope.sender:
            what = f"{envelope.kind} request of {envelope.sender} by {delivery.user}"
            raise DecodeError(what, why="publisher")

    def _refuse(self, error: DecodeError, delivery: Delivery) -> None:
        """Enter a submission that cannot be read as a job that failed: whoever submitted it waits for an answer.

        Only what its seal proves to be a client's: nobody else must enter anything, or use up the id of a job.
        """
        if error.about is None or error.about.kind != Submit.kind or not error.sealed_by:
            return
        with contextlib.suppress(DecodeError):
            self._check_address(delivery, error.about)
            job, reason = error.about.job, shortened(str(error))
            if self._store.add_job(job, codec.pack({}), JobState.FAILED, reason, error.about.sender):
                self._store.purge(job)
                self.announce(job)

    def _submit(self, job: str, submission: Submit, owner: str) -> None:
        state, reason, fields = JobState.SUBMITTED, "", submission.spec
        try:
            spec = registry.parse(fields)
            if spec.coordinator != self.name:
                raise ConfigError(f"job: coordinator: {spec.coordinator!r} is named, this is {self.name!r}")  # noqa: TRY301
            check_signed(self._credentials.roster, job, owner, submission.signature, spec)
            if self._store.job(job) is None:
                self._store.put_proof(job, owner, submission.signature)
        except (ConfigError, ProtocolError) as error:
            state, reason = JobState.FAILED, shortened(str(error))
        entered = self._store.add_job(job, codec.pack(fields), state, reason, owner)
        if not entered:
            # It was entered before, and is begun now where the store failed between the two.
            record = self._store.job(job)
            if record is None or self._runs.get(job) is not None:
                self.announce(job)
                return
            state = record.state
        if state.final:
            if entered:
                log.warning("job refused", job=job, reason=reason, user=owner)
            self._store.purge(job)
        elif entered:
            log.info("job received", job=job, algorithm=spec.algorithm, parties=list(spec.parties), user=owner)
        self.announce(job)
        if not state.final:
            self._runs.begin(job)

    def _cancel(self, job: str, user: str) -> None:
        record = self._store.job(job)
        allowed = record is not None and (user == record.owner or self._is_operator(user))
        if record is not None and not record.state.final and not allowed:
            log.warning("cancellation refused", job=job, user=user, owner=record.owner)
            refused = f"{user} may not cancel this job: only {record.owner} and the coordinator's `operators` may"
            self._events.publish(job, user, StateChanged(record.state.value, refused))
            return
        if record is not None:
            # In the ledger before the request is acknowledged: a restart must not bring the job back.
            self._store.set_state(job, JobState.CANCELLING, f"cancelled by {user}")
            log.info("job to be cancelled", job=job, user=user)
            self.announce(job)
        else:
            self._events.publish(job, user, self._unknown(job))
        if (run := self._runs.get(job)) is not None:
            run.session.fail(Cancelled(f"cancelled by {user}"))

    def _is_operator(self, user: str) -> bool:
        """Where all participants share one user of the broker, anybody is."""
        return not self._settings.broker.verify_sender or user in self._settings.operators

    def _latest(self, job: str) -> Progress | None:
        run = self._runs.get(job)
        return None if run is None else run.session.latest

    def _reply(self, request: Envelope, message: Message) -> None:
        self._events.reply(request, message)

    def _answer(self, request: Envelope) -> None:
        """Tell a client the state of a job: of its own, or of anybody's where it is an operator."""
        record, asker = self._store.job(request.job), request.sender
        owner = self._held.get(request.job) if record is None else record.owner
        if owner is not None and (asker == owner or self._is_operator(asker)):
            self.announce(request.job)
        else:
            self._events.publish(request.job, asker, self._unknown(request.job))

    def _unknown(self, job: str) -> StateChanged:
        return StateChanged(UNKNOWN, f"this coordinator has no job {job} of yours")

    def announce(self, job: str) -> None:
        """Publish the job's state as the ledger has it; /metrics has it before anybody hears of it."""
        self._runs.count()
        # Reading and publishing are one step: a watcher must not see an earlier state after a later one.
        with self._announcing:
            record = self._store.job(job)
            if record is not None:
                report = told_report(record) if record.state.final else None
                self._events.publish(job, record.owner, StateChanged(record.state.value, record.reason, report))
            elif owner := self._held.get(job):
                self._events.publish(job, owner, Notice(_WAITS))
