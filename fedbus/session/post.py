"""One participant's messages in one job: journalled, published, received once, sent again when asked for."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import structlog

from fedbus import codec, metrics, topology
from fedbus.broker.base import Broker, Delivery, Outgoing, Subscription
from fedbus.errors import AccessRefused, BrokerError, DecodeError, PeerSilent, ProtocolError, StoreError, StoreFull
from fedbus.job import JobSpec
from fedbus.messages.control import Alive, Failed, Notice, Ping, Resend, ResendAfter
from fedbus.messages.envelope import Envelope, Message
from fedbus.messages.fields import shortened
from fedbus.messages.shapes import shape_of
from fedbus.refusals import Refusals
from fedbus.seals import JobSeals
from fedbus.session.journal import Journal
from fedbus.session.mailbox import AHEAD, Mailbox
from fedbus.session.notices import Notices
from fedbus.session.room import FULL, ROOM_AGAIN
from fedbus.store.base import Store
from fedbus.store.records import Checkpoint, StoredMessage

log = structlog.get_logger()

# Rounds that one who follows orders may be ahead of who gives them: after a restart the latter begins some back.
_FOLLOWERS = 64
# Until a participant is asked again for its key.
_FIRST_PING_SECONDS = 0.5


class Post:
    """It sends and receives for one participant.

    Args:
        tell: hands on to whoever watches the job.

    Attributes:
        mailbox: where what is received is read.
        journal: of what is sent and received, and of checkpoints.
        bytes_sent: of journalled messages.
    """

    def __init__(
        self,
        job: str,
        spec: JobSpec,
        party: str,
        *,
        store: Store,
        broker: Broker,
        seals: JobSeals,
        tell: Callable[[Message], None],
        verify_sender: bool,
    ) -> None:
        # A coordinator of many can do without one; where parties need each other, the first failure ends the job.
        tolerant = spec.led and party == spec.coordinator
        self.mailbox = Mailbox(
            self._load, ahead=_FOLLOWERS if tolerant else None if spec.led else AHEAD, tolerant=tolerant
        )
        self.journal = Journal(job, store, self.mailbox.fail, self.wait_for_room, self.tell_of_room)
        self.bytes_sent = 0
        self._job = job
        self._participants = spec.participants
        self._limits = spec.limits
        self._party = party
        self._coordinator = spec.coordinator
        # A coordinator has nothing of its own.
        self._releases = party != spec.coordinator
        self._notices = Notices(self._notify)
        self._store = store
        self._broker = broker
        self._seals = seals
        self._tell = tell
        self._verify_sender = verify_sender
        self._failure: StoredMessage | None = None
        self._log = log.bind(job=job, party=party)
        self._refusals = Refusals("message", job=job, party=party)
        self._subscription: Subscription | None = None

    def open(self) -> None:
        """Take up what the journal holds and begin to receive."""
        for message in self.journal.open():
            self._deliver(codec.decode(message.body, self._seals), len(message.body))
        # What a crash kept from being published goes out now; what had arrived is dropped there as a duplicate.
        for message in self._store.outbox(self._job):
            self._publish(message)
        self._subscription = self._broker.consume(
            topology.job_queue(self._party, self._job).name, self._receive, quick=True
        )

    def close(self) -> None:
        """Stop receiving."""
        # What is journalled now is acknowledged; what comes after it goes back with the subscription.
        self.journal.close()
        self._notices.close()
        if self._subscription is not None:
            self._subscription.cancel()
            self._subscription = None

    def send(self, *envelopes: Envelope, checkpoint: Checkpoint | None = None) -> None:
        """Journal one message for several, and a checkpoint with it, then publish it.

        Raises:
            PeerSilent: a recipient that was not heard in this job yet gave no sign of life for longer than it allows.
        """
        for envelope in envelopes:
            self._meet(envelope.recipient)
        bodies = codec.encode_all(envelopes, self._seals)
        made = [
            _stored(envelope, envelope.recipient, body, releases=self._releases)
            for envelope, body in zip(envelopes, bodies, strict=True)
        ]
        sent = []
        for envelope, stored, new in zip(envelopes, made, self.journal.post(made, checkpoint), strict=True):
            # Sent before a restart: the same bytes again, or its recipient might get halves of two encryptions.
            body = None if new else self._store.posted(self._job, stored.id)
            sent.append(stored if body is None else _stored(envelope, stored.peer, body))
        self.bytes_sent += sum(len(stored.body) for stored in sent)
        self._publish(*sent)

    def report(self, envelope: Envelope) -> None:
        """Send the last message of a participant that cannot go on; even one whose store cannot be written."""
        self._failure = _stored(envelope, envelope.recipient, codec.encode(envelope, self._seals))
        self._publish(self._failure)

    def wait_for_room(self, seconds: float) -> None:
        """Wait while the disk is full. Raise what ends the job meanwhile."""
        self.mailbox.wait(lambda: False, seconds)

    def tell_of_room(self, error: StoreFull | None) -> None:
        """Tell the log and the coordinator, and through it whoever watches, that this participant waits for room."""
        if error is None:
            self._log.warning("the disk has room again; the job goes on")
        else:
            self._log.error("the job waits until there is room on the disk", error=str(error))
        notice = Notice(ROOM_AGAIN if error is None else FULL)
        if self._party == self._coordinator:
            self._notices.put(self._party, notice.text)
        else:
            self.whisper(self._coordinator, notice)

    def _notify(self, sender: str, text: str) -> None:
        """Pass on to whoever watches what a participant has to say."""
        self._tell(Notice(shortened(f"{sender}: {text}")))

    def whisper(self, to: str, message: Message, number: int = 0) -> None:
        """Send what need not survive: it is not journalled. `number` tells repetitions apart."""
        envelope = Envelope(self._job, self._party, to, message, chunk=number, chunks=number + 1)
        self._publish(_stored(envelope, to, codec.encode(envelope, self._seals)), wait=False)

    def _meet(self, peer: str) -> None:
        """See to it that there is a key for what a participant is sent: its own for the job, which it has to say."""
        since, attempt = time.monotonic(), 0
        while not self._seals.knows(peer):
            attempt += 1
            self.whisper(peer, Ping(), attempt)
            pause = min(_FIRST_PING_SECONDS * 2 ** (attempt - 1), self._limits.resend)
            if self.mailbox.wait(lambda: self._seals.knows(peer), pause):
                return
            silence = self.mailbox.silence(peer, since)
            if silence >= self._limits.silence:
                raise PeerSilent(
                    f"{peer} gave no sign of life for {silence:.0f} s (limits.silence is {self._limits.silence:g}) "
                    f"while {self._party} waited for its key for this job"
                )

    def _publish(self, *messages: StoredMessage, wait: bool = True) -> None:
        outgoing = []
        for stored in messages:
            key = topology.data_key(self._party, stored.peer, self._job)
            metrics.messages.labels(stored.kind, "sent").inc()
            metrics.message_bytes.labels(stored.kind, "sent").inc(len(stored.body))
            outgoing.append(Outgoing(topology.DATA, key, stored.body, stored.id))
        for stored, future in zip(messages, self._broker.publish_all(outgoing, wait=wait), strict=True):
            future.add_done_callback(functools.partial(self._published, stored.kind, stored.peer))

    def _published(self, kind: str, to: str, future: Future[None]) -> None:
        error = future.exception()
        if isinstance(error, AccessRefused):
            self.mailbox.fail(error)
        elif isinstance(error, BrokerError):
            # The message is in the outbox: its recipient asks for it when it misses it.
            told = self._log.debug if kind == Alive.kind else self._log.warning
            told("not delivered; will be sent again when asked for", kind=kind, to=to, error=str(error))
        elif error is not None:
            self._log.error("not delivered", kind=kind, to=to, exc_info=error)
            self.mailbox.fail(ProtocolError(f"publishing {kind} failed ({type(error).__name__}); the log says more"))

    def _receive(self, delivery: Delivery) -> None:
        try:
            if self._verify_sender and delivery.user not in self._participants:
                # Nobody in the job spends time on reading it.
                raise DecodeError(f"message by {delivery.user}, who is not in the job", why="stranger")  # noqa: TRY301
            envelope = codec.decode(delivery.body, self._seals, functools.partial(self._check_address, delivery))
        except DecodeError as error:
            self._refusals.refuse(delivery, error)
            # Only a participant's mistake ends the job, as its seal proves: an outsider's message must not be able to.
            if error.sealed_by:
                self.mailbox.peer_erred(error.sealed_by, f"{self._party} received from {error.sealed_by}: {error}")
            return
        metrics.messages.labels(envelope.kind, "received").inc()
        metrics.message_bytes.labels(envelope.kind, "received").inc(len(delivery.body))
        self._take(envelope, delivery)

    def _take(self, envelope: Envelope, delivery: Delivery) -> None:
        if isinstance(envelope.payload, Resend | ResendAfter | Ping):
            delivery.hand_over(functools.partial(self._hear, envelope.sender, envelope.payload))
        elif isinstance(envelope.payload, Notice):
            self.mailbox.heard(envelope.sender)
            if self._party == self._coordinator:
                self._notices.put(envelope.sender, envelope.payload.text)
            delivery.ack()
        elif isinstance(envelope.payload, Alive):
            # One that has failed does not say so; it was started again.
            self.mailbox.returned(envelope.sender)
            delivery.ack()
        elif envelope.round <= self.journal.checkpointed and not isinstance(envelope.payload, Failed):
            # Too late to count, and yet a sign of life.
            self._count_duplicate(envelope.sender)
            delivery.ack()
        else:
            self._keep(envelope, delivery)

    def _keep(self, envelope: Envelope, delivery: Delivery) -> None:
        stored = _stored(envelope, envelope.sender, delivery.body)
        if self.journal.receive(stored, delivery, envelope.checkpoint):
            self._deliver(envelope, len(delivery.body))
        else:
            # A sender that does again what it did before its restart is at work.
            self._count_duplicate(envelope.sender)

    def _count_duplicate(self, sender: str) -> None:
        self.mailbox.heard(sender)
        metrics.duplicates.inc()

    def _check_address(self, delivery: Delivery, envelope: Envelope) -> None:
        if envelope.job != self._job or envelope.recipient != self._party:
            raise DecodeError(f"{envelope.kind} message for another job or recipient", delivery.body, why="address")
        if envelope.sender not in self._participants:
            reason = f"{envelope.kind} message from {envelope.sender}, who is not in the job"
            raise DecodeError(reason, delivery.body, why="stranger")
        if self._verify_sender and delivery.user != envelope.sender:
            raise DecodeError(
                f"{envelope.kind} message that names {envelope.sender} but was published by {delivery.user}; "
                "where all share one user of the broker, set broker.verify_sender = false",
                delivery.body,
                why="publisher",
            )

    def _deliver(self, envelope: Envelope, size: int) -> None:
        if isinstance(envelope.payload, Failed):
            self.mailbox.peer_failed(envelope.sender, envelope.payload.reason)
        else:
            self.mailbox.put(envelope, size)

    def _load(self, message_id: str) -> Envelope:
        body = self.journal.received(message_id)
        if body is None:
            raise StoreError(f"{self._store.place}: a message of job {self._job} is not in the journal any more")
        return codec.decode(body, self._seals)

    def _hear(self, sender: str, question: Resend | ResendAfter | Ping, delivery: Delivery) -> None:
        try:
            self._answer(sender, question)
        except StoreError as error:
            self.mailbox.fail(error)
        delivery.ack()

    def _answer(self, sender: str, question: Resend | ResendAfter | Ping) -> None:
        self.mailbox.heard(sender)
        if self._failure is not None:
            # Nobody asks for it by name; whoever asks for anything else waits in vain.
            self._publish(self._failure, wait=False)
            return
        found = False
        for stored in self._wanted(sender, question):
            found = True
            metrics.resends.inc()
            self._publish(stored, wait=False)
        if not found:
            self.whisper(sender, Alive())

    def _wanted(self, sender: str, question: Resend | ResendAfter | Ping) -> Iterator[StoredMessage]:
        """Return what a participant is to be sent again, as it is in the outbox."""
        match question:
            case Ping():
                return
            case ResendAfter(round_):
                yield from self._store.sent_after(self._job, sender, round_)
            case Resend(kind, round_, batch, missing):
                for stored in self._store.outbox(self._job, (sender, kind, round_, batch)):
                    if not missing or stored.chunk in missing:
                        yield stored


def _stored(envelope: Envelope, peer: str, body: bytes, *, releases: bool = False) -> StoredMessage:
    place, shape = (envelope.round, envelope.batch, envelope.chunk), shape_of(envelope.payload) if releases else None
    return StoredMessage(envelope.id, envelope.job, peer, envelope.kind, *place, body, shape)
