"""What a protocol role sees of the world: one participant in one job.

A role sends to and receives from other participants by name, and checkpoints at the end of each round. The session
journals what passes, drops duplicates, asks for what is missing, and makes a restarted role go on where it was:
randomness is derived from the job's secret, so that it sends the same values again under the same ids.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import structlog

from fedbus import codec, metrics, topology
from fedbus.broker.base import Broker, Delivery, Outgoing, Subscription
from fedbus.crypto.masking import SecretStream
from fedbus.errors import (
    AccessRefused,
    BrokerError,
    DecodeError,
    FedbusError,
    PeerFailed,
    PeerSilent,
    ProtocolError,
    StoreError,
)
from fedbus.jobs import JobSpec
from fedbus.mailbox import Mailbox
from fedbus.messages import Alive, Envelope, Failed, M, Message, Resend
from fedbus.store import Store, StoredMessage

log = structlog.get_logger()

_LONGEST_RESEND = 300.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the job the role is; see Envelope."""

    round: int = 0
    batch: int = 0


class Session:
    """One participant in one job.

    Args:
        job: in the store's ledger.
        party: this participant's name.
        verify_sender: refuse messages whose publisher is not the sender they name.
    """

    def __init__(
        self,
        job: str,
        spec: JobSpec,
        party: str,
        *,
        store: Store,
        broker: Broker,
        verify_sender: bool = True,
    ) -> None:
        record = store.job(job)
        if record is None:
            raise StoreError(f"{store.path}: job {job} is not in the ledger")
        self.job = job
        self.spec = spec
        self.party = party
        self.role = _role(spec, party)
        self.bytes_sent = 0
        self._secret = record.secret
        self._store = store
        self._broker = broker
        self._verify_sender = verify_sender
        self._mailbox = Mailbox()
        self._place = Place()
        self._checkpointed = -1
        self._deadline = math.inf
        self._trimmed: dict[str, int] = {}
        self._log = log.bind(job=job, party=party)
        self._subscription: Subscription | None = None

    def open(self) -> None:
        """Take up what the journal holds and begin to receive."""
        checkpoint = self._store.last_checkpoint(self.job)
        self._checkpointed = checkpoint[0] if checkpoint else -1
        for message in self._store.inbox(self.job):
            self._deliver(codec.decode(message.body))
        # What a crash kept from being published goes out now; what had arrived is dropped there as a duplicate.
        for message in self._store.outbox(self.job):
            self._publish(message)
        queue = topology.job_queue(self.party, self.job).name
        self._subscription = self._broker.consume(queue, self._receive)

    def close(self) -> None:
        """Stop receiving."""
        if self._subscription is not None:
            self._subscription.cancel()

    # What roles use.

    @property
    def guest(self) -> str:
        return self.spec.guest.party

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(host.party for host in self.spec.hosts)

    @property
    def coordinator(self) -> str:
        return self.spec.coordinator

    @property
    def round(self) -> int:
        return self._place.round

    @property
    def resumed(self) -> bool:
        """There is a checkpoint to go on from."""
        return self._checkpointed >= 0

    def at(self, round_: int, batch: int = 0) -> None:
        """Go to a place in the job; what is sent and received belongs to it. Rounds never decrease."""
        if round_ < self._place.round:
            raise ValueError(f"round {round_} comes after round {self._place.round}")
        self._place = Place(round_, batch)

    def send(self, to: str, message: Message) -> None:
        """Send a message; returns when it is in the outbox."""
        self._send(to, message, 0, 1)

    def send_stream(self, to: str | Sequence[str], messages: Iterable[Message], count: int) -> None:
        """Send `count` pieces of one long message, each as soon as it is made."""
        recipients = (to,) if isinstance(to, str) else to
        for chunk, message in enumerate(messages):
            for recipient in recipients:
                self._send(recipient, message, chunk, count)

    def recv(self, sender: str, kind: type[M]) -> M:
        """The sender's message of this kind at this place.

        Raises:
            PeerFailed: a participant reported that it failed.
            PeerSilent: the sender gave no sign of life for longer than the job allows.
        """
        messages = list(self.recv_stream(sender, kind))
        if len(messages) != 1:
            raise ProtocolError(f"{sender} sent {kind.kind} in {len(messages)} pieces, which has to be one")
        return messages[0]

    def recv_stream(self, sender: str, kind: type[M]) -> Iterator[M]:
        """The pieces of the sender's message in order, each as soon as it is there."""
        place = (sender, kind.kind, self._place.round, self._place.batch)
        chunk, chunks = 0, 1
        while chunk < chunks:
            envelope = self._wait(place, chunk)
            if chunk and envelope.chunks != chunks:
                raise ProtocolError(f"{sender} changed the number of pieces of {kind.kind}")
            chunks = envelope.chunks
            chunk += 1
            assert isinstance(envelope.payload, kind)  # noqa: S101  # the mailbox is keyed by kind
            yield envelope.payload

    def checkpoint(self, state: Any) -> None:
        """Make the end of this round durable; a restarted role goes on with the next one.

        Args:
            state: of maps, lists, numbers, text, bytes and arrays.
        """
        self._mailbox.check()
        body = codec.pack({"state": state, "bytes_sent": self.bytes_sent})
        self._store.checkpoint(self.job, self._place.round, body)
        self._checkpointed = self._place.round
        self._mailbox.drop_until(self._checkpointed)

    def restore(self) -> Any:
        """The state of the last checkpoint, None where there is none."""
        checkpoint = self._store.last_checkpoint(self.job)
        if checkpoint is None:
            return None
        round_, body = checkpoint
        fields = codec.unpack(body)
        self.bytes_sent = fields["bytes_sent"]
        self.at(round_)
        self._log.info("job goes on after its last checkpoint", round=round_)
        return fields["state"]

    def random(self, label: str) -> SecretStream:
        """Secret randomness for one purpose at this place; the same after a restart."""
        return SecretStream(self._secret, f"{self.job}/{self.party}/{self._place.round}/{self._place.batch}/{label}")

    @contextlib.contextmanager
    def patience(self, seconds: float) -> Iterator[None]:
        """Wait no longer than this for any one message, whether its sender lives or not."""
        self._deadline = time.monotonic() + seconds
        try:
            yield
        finally:
            self._deadline = math.inf

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure a phase of the round."""
        with metrics.round_latency.labels(self.spec.algorithm, self.role, name).time():
            yield

    def publish_event(self, message: Message, key: int = 0) -> None:
        """Tell whoever watches; nobody need be there."""
        envelope = Envelope(self.job, self.party, self.party, message, round=key)
        publish_event(self._broker, envelope)

    def fail(self, error: Exception) -> None:
        """Make the role raise this error where it waits."""
        self._mailbox.fail(error)

    def report_failure(self, message: Failed) -> None:
        """Tell the coordinator that this party cannot go on, even where the session itself has failed."""
        self._post(self.coordinator, message, 0, 1)

    # Sending.

    def _send(self, to: str, message: Message, chunk: int, chunks: int) -> None:
        self._mailbox.check()
        self._post(to, message, chunk, chunks)

    def _post(self, to: str, message: Message, chunk: int, chunks: int) -> None:
        envelope = Envelope(
            self.job, self.party, to, message, self._place.round, self._place.batch, chunk, chunks, self._checkpointed
        )
        stored = _stored(envelope, to, codec.encode(envelope))
        if not self._store.post(stored):
            # Sent before a restart: the same bytes again, or its recipient might get halves of two encryptions.
            body = self._store.posted(stored.id)
            stored = _stored(envelope, to, body) if body is not None else stored
        self.bytes_sent += len(stored.body)
        self._publish(stored)

    def _publish(self, stored: StoredMessage) -> None:
        key = topology.data_key(self.party, stored.peer, self.job)
        metrics.messages.labels(stored.kind, "sent").inc()
        metrics.message_bytes.labels(stored.kind, "sent").inc(len(stored.body))
        future = self._broker.publish(Outgoing(topology.DATA, key, stored.body, stored.id))
        future.add_done_callback(functools.partial(self._published, stored.kind, stored.peer))

    def _published(self, kind: str, to: str, future: Future[None]) -> None:
        error = future.exception()
        if isinstance(error, AccessRefused):
            self._mailbox.fail(error)
        elif isinstance(error, BrokerError):
            # The message is in the outbox: its recipient asks for it when it misses it.
            self._log.warning("not delivered; will be sent again when asked for", kind=kind, to=to, error=str(error))
        elif error is not None:
            self._mailbox.fail(ProtocolError(f"publishing {kind} failed: {error}"))

    # Receiving.

    def _receive(self, delivery: Delivery) -> None:
        try:
            envelope = codec.decode(delivery.body)
            self._check_address(envelope, delivery)
        except DecodeError as error:
            delivery.dead_letter(str(error))
            self._log.error("message refused; it is in the dead-letter queue", reason=str(error), user=delivery.user)
            if delivery.user in (None, *self.spec.participants) or not self._verify_sender:
                self._mailbox.fail(ProtocolError(f"{delivery.user or 'a participant'} sent a {error}"))
            return
        metrics.messages.labels(envelope.kind, "received").inc()
        metrics.message_bytes.labels(envelope.kind, "received").inc(len(delivery.body))
        if isinstance(envelope.payload, Resend):
            self._resend(envelope.sender, envelope.payload)
        elif isinstance(envelope.payload, Alive):
            self._mailbox.heard(envelope.sender)
        elif envelope.round <= self._checkpointed and not isinstance(envelope.payload, Failed):
            metrics.duplicates.inc()
        elif self._store.receive(_stored(envelope, envelope.sender, delivery.body)):
            self._trim(envelope)
            self._deliver(envelope)
        else:
            metrics.duplicates.inc()
        delivery.ack()

    def _check_address(self, envelope: Envelope, delivery: Delivery) -> None:
        if envelope.job != self.job or envelope.recipient != self.party:
            raise DecodeError(f"{envelope.kind} message for another job or recipient", delivery.body)
        if envelope.sender not in self.spec.participants:
            raise DecodeError(f"{envelope.kind} message from {envelope.sender}, who is not in the job", delivery.body)
        if self._verify_sender and delivery.user != envelope.sender:
            raise DecodeError(
                f"{envelope.kind} message that names {envelope.sender} but was published by {delivery.user}; "
                "where all share one user of the broker, set broker.verify_sender = false",
                delivery.body,
            )

    def _deliver(self, envelope: Envelope) -> None:
        if isinstance(envelope.payload, Failed):
            self._mailbox.fail(PeerFailed(f"{envelope.sender}: {envelope.payload.reason}"))
        else:
            self._mailbox.put(envelope)

    def _trim(self, envelope: Envelope) -> None:
        if envelope.checkpoint > self._trimmed.get(envelope.sender, -1):
            self._trimmed[envelope.sender] = envelope.checkpoint
            self._store.trim_outbox(self.job, envelope.sender, envelope.checkpoint)

    def _wait(self, place: tuple[str, str, int, int], chunk: int) -> Envelope:
        sender, kind, round_, batch = place
        limits, since = self.spec.limits, time.monotonic()
        interval, attempt = limits.resend, 0
        while True:
            left = self._deadline - time.monotonic()
            envelope = self._mailbox.take(place, chunk, min(interval, limits.silence, max(left, 0)))
            if envelope is not None:
                return envelope
            silence = self._mailbox.silence(sender, since)
            if silence >= limits.silence or left <= interval:
                raise PeerSilent(
                    f"{sender} gave no sign of life for {silence:.0f} s (limits.silence is {limits.silence:g}) "
                    f"while {self.party} waited for {kind} of round {round_}"
                )
            attempt += 1
            interval = min(2 * interval, _LONGEST_RESEND)
            missing = self._mailbox.missing(place, chunk)
            self._log.info("message missing; asking for it again", kind=kind, sender=sender, round=round_)
            self._whisper(sender, Resend(kind, round_, batch, missing), attempt)

    def _resend(self, sender: str, wanted: Resend) -> None:
        self._mailbox.heard(sender)
        place = (sender, wanted.wanted, wanted.round, wanted.batch)
        chunks = self._store.outbox(self.job, place)
        if not chunks:
            self._whisper(sender, Alive(), 0)
        for stored in chunks:
            if not wanted.missing or stored.chunk in wanted.missing:
                metrics.resends.inc()
                self._publish(stored)

    def _whisper(self, to: str, message: Message, number: int) -> None:
        """Send what need not survive: it is neither journalled nor answered twice."""
        envelope = Envelope(self.job, self.party, to, message, self._place.round, self._place.batch, number, number + 1)
        try:
            self._publish(_stored(envelope, to, codec.encode(envelope)))
        except FedbusError as error:
            self._mailbox.fail(error)


def publish_event(broker: Broker, envelope: Envelope) -> None:
    """Publish an event of a job."""
    key = topology.event_key(envelope.sender, envelope.job, envelope.kind)
    broker.publish(Outgoing(topology.EVENTS, key, codec.encode(envelope), envelope.id, mandatory=False))


def _stored(envelope: Envelope, peer: str, body: bytes) -> StoredMessage:
    place = (envelope.round, envelope.batch, envelope.chunk)
    return StoredMessage(envelope.id, envelope.job, peer, envelope.kind, *place, body)


def _role(spec: JobSpec, party: str) -> str:
    if party == spec.coordinator:
        return "coordinator"
    return "guest" if party == spec.guest.party else "host"
