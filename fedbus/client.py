"""The client's side: submit a job, watch it, fetch its report, cancel it.

with Client.connect("amqp://alice:password@broker:5672/") as client:
    job = client.submit("job.toml")
    for event in client.watch(job): ...
    report = client.result(job)
"""

from __future__ import annotations

import contextlib
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from fedbus import codec, environment, requests, topology
from fedbus.algorithms import registry
from fedbus.broker.base import Broker, Delivery
from fedbus.broker.rabbitmq.broker import AmqpBroker
from fedbus.credentials import Credentials
from fedbus.errors import (
    ConfigError,
    ConnectionLost,
    DecodeError,
    JobFailed,
    JobRefused,
    NotFound,
)
from fedbus.following import follow
from fedbus.job import COORDINATOR, UNKNOWN, JobState, is_final, new_id
from fedbus.messages.control import Cancel, Event, Query, StateChanged, Submit
from fedbus.messages.envelope import Envelope, M, Message
from fedbus.messages.ledger import JobLine, JobList, JobShown, ListJobs, ShowJob
from fedbus.report import Report
from fedbus.seals import IdentitySeals, sign
from fedbus.submissions import Submissions

REPLY_SECONDS = 15.0
_CHECK_SECONDS = 1.0

Events = queue.SimpleQueue[Event]

_STATES = {UNKNOWN, *(state.value for state in JobState)}


class Client:
    """A client of a federation, over a broker connection that it does not own.

    Args:
        coordinator: its name, as messages address it.
        credentials: the client's identity, by which it signs jobs, and its roster.
        verify_sender: ignore events whose publisher is not the sender that they name.

    Raises:
        AccessRefused: the connection's user is no client's.
    """

    def __init__(
        self, broker: Broker, coordinator: str = COORDINATOR, *, credentials: Credentials, verify_sender: bool = True
    ) -> None:
        self._broker = broker
        # The connection, where this client made it.
        self._own: Broker | None = None
        self._coordinator = coordinator
        self._verify_sender = verify_sender
        self._name = credentials.name
        self._identity = credentials.identity
        self._seals = IdentitySeals(credentials)
        # Of each job that is followed a queue for each watch, and one from submitting it to its first watch.
        self._followed: dict[str, list[Events]] = {}
        self._submitted: dict[str, Events] = {}
        self._submissions = Submissions()
        self._closed = False
        self._ended: set[tuple[str, str]] = set()
        self._replies: dict[str, list[queue.SimpleQueue[Message]]] = {}
        self._changed = threading.Condition(threading.RLock())
        # Events of all jobs from now on: a job's first events must not be missed between submitting and watching.
        self._subscription = broker.consume(requests.declare_watch(broker, self._name), self._receive)

    @classmethod
    def connect(
        cls,
        url: str = "",
        coordinator: str = COORDINATOR,
        *,
        identity: Path | None = None,
        roster: Path | None = None,
    ) -> Client:
        """A client with a connection of its own to RabbitMQ, which it closes.

        Args:
            url: amqp://user:password@host:5672/, of a client's user; where it is left out, FEDBUS_AMQP_URL has it. For
                amqps:// FEDBUS_AMQP_CA, FEDBUS_AMQP_CERTIFICATE and FEDBUS_AMQP_KEY name the files of certificates.
            identity, roster: the client's files; where they are left out, FEDBUS_IDENTITY and FEDBUS_ROSTER may have
                them.

        Raises:
            ConfigError: there is no URL, a file of certificates is not what it should be, or the client's identity and
                its roster do not agree.
            BrokerError: the broker cannot be reached, refuses the user, or one side does not accept the other's
                certificate.
        """
        tls = environment.broker_tls(environment.with_broker(url) if url else None)
        url = url or environment.broker_url()
        if not url:
            raise ConfigError("FEDBUS_AMQP_URL: not set; it is the broker's URL, amqp://user:password@host:5672/")
        broker = AmqpBroker(environment.check_url(url, "the URL of the broker"), tls=tls)
        own, verify = environment.key_files(), environment.verify_sender()
        try:
            by = Credentials.of_client(identity or own[0], roster or own[1], broker.user if verify else None)
            broker.connect()
            client = cls(broker, coordinator, credentials=by, verify_sender=verify)
        except BaseException:
            broker.close()
            raise
        client._own = broker
        return client

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop watching, and close the connection where it is the client's own."""
        self._closed = True
        self._subscription.cancel()
        if self._own is not None:
            self._own.close()

    def submit(self, job_spec: registry.JobSource) -> str:
        """Put a job in the coordinator's queue; returns its id.

        Args:
            job_spec: a specification, the path of a job file, or a map of what such a file says.

        Raises:
            ConfigError: it is no sound job; see `registry.job_from`.
            Unroutable: no coordinator has ever been there.
            ConnectionLost: the broker does not confirm.
        """
        spec = registry.job_from(job_spec)
        job = new_id(spec.name)
        self._submitted[job] = self._follow(job)
        signed = Submit(spec.to_map(), sign(self._identity, job, self._name, spec))
        self._submissions.add(self._request(topology.SUBMIT, job, signed))
        return job

    def cancel(self, job: str) -> None:
        """Ask the coordinator to end a job; raises as `submit`."""
        self._request(topology.CANCEL, job, Cancel())

    def jobs(self, limit: int = 100, *, unfinished: bool = False, timeout: float = REPLY_SECONDS) -> JobList:
        """The newest jobs in the coordinator's ledger: this user's, or all for one of its `operators`.

        Raises:
            ConnectionLost: no coordinator answered within the timeout (seconds).
        """
        found, page = list[JobLine](), JobList([], True)
        while page.more and len(found) < limit:
            # An answer has to fit one message: a long list is asked for in several.
            wanted = ListJobs(limit - len(found), unfinished, (found[-1].submitted, found[-1].job) if found else None)
            page = self._ask(f"list-{secrets.token_hex(8)}", wanted, JobList, timeout)
            found += page.jobs
        return JobList(found, page.more)

    def show(self, job: str, timeout: float = REPLY_SECONDS) -> JobShown:
        """All that the coordinator's ledger has of a job.

        Raises:
            NotFound, JobRefused: it has no such job, or this user may not see it.
            ConnectionLost: no coordinator answered within the timeout (seconds).
        """
        shown = self._ask(job, ShowJob(), JobShown, timeout)
        if shown.line is None:
            raise (JobRefused if shown.known else NotFound)(shown.refusal)
        return shown

    def watch(
        self, job: str, timeout: float | None = None, check: Callable[[], object] | None = None
    ) -> Iterator[Event]:
        """A job's events, from its present state to its end.

        A job that this client submitted, and that the coordinator does not know, is submitted again.

        Args:
            timeout: seconds without any event before TimeoutError; None waits for ever.
            check: called now and then while there is none; what it raises ends the watch.
        """
        with self._changed:
            events = self._submitted.pop(job, None) or self._follow(job)
        try:
            query = self._request(topology.QUERY, job, Query())
            ask = partial(requests.publish, self._broker, self._seals, wait=False)
            yield from follow(query, self._submissions, ask, lambda: self._next(events), timeout, check)
        finally:
            with self._changed:
                self._followed[job].remove(events)

    def _request(self, key: str, job: str, message: Message) -> Envelope:
        envelope = Envelope(job, self._name, self._coordinator, message)
        requests.request(self._broker, self._seals, key, envelope)
        return envelope

    def _follow(self, job: str) -> Events:
        events: Events = queue.SimpleQueue()
        with self._changed:
            self._followed.setdefault(job, []).append(events)
        return events

    def result(
        self, job: str, timeout: float | None = None, progress: Callable[[Event], object] | None = None
    ) -> Report:
        """The report of a job that succeeded, once it has.

        Args:
            progress: called with each event.

        Raises:
            JobFailed: it failed or was cancelled.
            NotFound: the coordinator does not know it.
            ProtocolError: its report is none.
            TimeoutError: no event for `timeout` seconds.
        """
        for event in self.watch(job, timeout):
            if progress is not None:
                progress(event)
            if isinstance(event, StateChanged) and is_final(event.state):
                report = report_of(job, event)
                if report.succeeded and event.report is not None:
                    return report
                raise (NotFound if event.state == UNKNOWN else JobFailed)(f"job {job} {event.state}: {event.reason}")
        raise JobFailed(f"job {job} ended without a report")

    def wait_ended(self, job: str, parties: Sequence[str], timeout: float) -> list[str]:
        """Wait until parties have entered the end of a job too; returns those that have not within the timeout."""
        wanted = {(job, party) for party in parties}
        with self._changed:
            self._changed.wait_for(lambda: wanted <= self._ended, timeout)
            return sorted(party for _, party in wanted - self._ended)

    def _ask(self, about: str, question: Message, answer: type[M], timeout: float) -> M:
        """What the coordinator tells this client alone."""
        replies: queue.SimpleQueue[Message] = queue.SimpleQueue()
        with self._changed:
            self._replies.setdefault(about, []).append(replies)
        deadline = time.monotonic() + timeout
        try:
            self._request(topology.QUERY, about, question)
            while True:
                reply = replies.get(timeout=max(deadline - time.monotonic(), 0.001))
                if isinstance(reply, answer):
                    return reply
        except queue.Empty:
            raise ConnectionLost(
                f"no coordinator answered within {timeout:g} s: check that fedbus-coordinator runs"
            ) from None
        finally:
            with self._changed:
                self._replies[about].remove(replies)
                if not self._replies[about]:
                    del self._replies[about]

    def _next(self, events: Events) -> Event | None:
        """The next event of a watch; None where none comes for a while."""
        if self._closed:
            raise ConnectionLost("the client was closed while it watched a job")
        with contextlib.suppress(queue.Empty):
            return events.get(timeout=_CHECK_SECONDS)
        return None

    def _receive(self, delivery: Delivery) -> None:
        # No time is spent on events of other jobs. A watcher shows what it can read; an event that it cannot is no
        # concern of the job's.
        job = delivery.routing_key.partition(".")[2].partition(".")[0]
        if job in self._followed or job in self._replies:
            with contextlib.suppress(DecodeError):
                envelope = codec.decode(delivery.body, self._seals)
                if not self._verify_sender or delivery.user == envelope.sender:
                    self._sort(envelope)
        delivery.ack()

    def _sort(self, envelope: Envelope) -> None:
        event = envelope.payload
        if isinstance(event, JobList | JobShown):
            right = (envelope.sender, envelope.recipient) == (self._coordinator, self._name)
            with self._changed:
                for replies in self._replies.get(envelope.job, ()) if right else ():
                    replies.put(event)
            return
        if envelope.job not in self._followed or (isinstance(event, StateChanged) and event.state not in _STATES):
            return
        if envelope.sender == self._coordinator:
            self._submissions.heard(envelope.job, event)
            if isinstance(event, Event):
                with self._changed:
                    for events in self._followed[envelope.job]:
                        events.put(event)
        elif isinstance(event, StateChanged):
            with self._changed:
                self._ended.add((envelope.job, envelope.sender))
                self._changed.notify_all()


def report_of(job: str, ended: StateChanged) -> Report:
    """What a job's last event says: its report, or where it has none its state and reason.

    Raises:
        ProtocolError: the coordinator's report is none, or lacks what it has to have.
    """
    if ended.report is None:
        return Report(job=job, state=ended.state, reason=ended.reason)
    return registry.read_report(ended.report)
