"""A session is what a protocol role sees of the world: one participant in one job.

A role sends to and receives from other participants by name, and checkpoints at the end of each round. The session
journals what passes, drops duplicates, asks for what is missing, and makes a restarted role go on where it was:
randomness is derived from the job's secret, so that it sends the same values again under the same ids.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar, cast

import structlog

from fedbus import codec, metrics
from fedbus.algorithms import registry
from fedbus.broker.base import Broker
from fedbus.credentials import Credentials
from fedbus.crypto.masking import SecretStream
from fedbus.errors import PeerSilent, ProtocolError, StoreError
from fedbus.job import JobSpec
from fedbus.messages.control import Failed, Notice, Ping, Progress
from fedbus.messages.envelope import Envelope, M, Message
from fedbus.seals import JobSeals
from fedbus.session.attendance import Attendance, Place
from fedbus.session.events import Events
from fedbus.session.post import Post
from fedbus.session.room import when_there_is_room
from fedbus.session.waiting import Waiting
from fedbus.store.base import Store
from fedbus.store.records import Buffer, Checkpoint

log = structlog.get_logger()

E = TypeVar("E")
# Who can work with any job of a kind can with one of a kind of that: a session only tells what its job is.
J = TypeVar("J", bound=JobSpec, covariant=True)
T = TypeVar("T")


class Session(Generic[J]):
    """One participant in one job of class J, of which its algorithm's sides see to it that it is one.

    Args:
        job: in the store's ledger.
        party: this participant's name.
        events: tells whoever watches the job.
        verify_sender: refuse messages whose publisher is not the sender they name.

    Attributes:
        credentials: this participant's identity and its roster.
        spec: the job as it was submitted.
        attendance: who is there and what has come, for roles that can do without a participant.
        latest: what was last told of a training round, None before the first one of this process.
    """

    def __init__(
        self,
        job: str,
        party: str,
        *,
        store: Store,
        broker: Broker,
        credentials: Credentials,
        events: Events,
        verify_sender: bool = True,
    ) -> None:
        record = store.job(job)
        if record is None:
            raise StoreError(f"{store.place}: job {job} is not in the ledger")
        spec = registry.parse(codec.unpack(record.spec))
        self.job = job
        self.spec = cast(J, spec)
        self.party = party
        self.role = spec.role(party)
        self._secret = record.secret
        self._store = store
        self._broker = broker
        self.credentials = credentials
        self._owner = record.owner
        self._events = events
        known = {name: proof for name, proof in store.proofs(job).items() if name in spec.participants}
        keep = functools.partial(store.put_proof, job)
        self._seals = JobSeals(credentials, job, record.secret, spec.role, known, keep)
        self._post = Post(
            *(job, spec, party),
            store=store,
            broker=broker,
            seals=self._seals,
            tell=self.publish_event,
            verify_sender=verify_sender,
        )
        self._place = Place()
        self.latest: Progress | None = None
        self._posted_before = -1
        # The coordinator waits for all, directly or because one waits for another; it tells who is missing.
        tell = self._tell_watchers if party == spec.coordinator else None
        self.attendance = Attendance(self._post, lambda: self._place, spec, tell)
        self._waiting = Waiting(job, party, self._post, self.attendance, spec.limits)
        self._log = log.bind(job=job, party=party)

    def open(self) -> None:
        """Take up what the journal holds and begin to receive."""
        self._posted_before = self._store.last_posted(self.job)
        self._post.open()

    def close(self) -> None:
        """Stop receiving."""
        self._post.close()

    # What roles use.

    @property
    def coordinator(self) -> str:
        return self.spec.coordinator

    @property
    def round(self) -> int:
        return self._place.round

    @property
    def bytes_sent(self) -> int:
        return self._post.bytes_sent

    @property
    def resumed(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return self._post.journal.checkpointed >= 0

    def at(self, round_: int) -> None:
        """Go to a round of the job; what is sent and received belongs to it. Rounds never decrease."""
        if round_ < self._place.round:
            raise ValueError(f"round {round_} comes after round {self._place.round}")
        if self._place.batch:
            raise ValueError(f"round {round_} begins within batch {self._place.batch} of round {self._place.round}")
        self._place = Place(round_)

    @contextlib.contextmanager
    def batch(self, number: int) -> Iterator[None]:
        """Have what is sent and received within the `with` block belong to this part of the round."""
        before, self._place = self._place, Place(self._place.round, number)
        try:
            yield
        finally:
            self._place = before

    def send(self, to: str | Sequence[str], message: Message, *, ends: Any = None) -> None:
        """Send a message. Return when it is in the outbox.

        Args:
            ends: the state of a checkpoint of this round, durable with the message: neither is without the other.
        """
        self._send(to, message, 0, 1, ends)

    def send_stream(self, to: str | Sequence[str], messages: Iterable[Message], count: int) -> None:
        """Send `count` pieces of one long message, each as soon as it is made."""
        for chunk, message in enumerate(messages):
            self._send(to, message, chunk, count)

    def recv(self, sender: str, kind: type[M]) -> M:
        """Return the sender's message of this kind at this place.

        Raises:
            PeerFailed: a participant reported that it failed.
            PeerSilent: the sender gave no sign of life for longer than the job allows.
        """
        messages = list(self.recv_stream(sender, kind))
        if len(messages) != 1:
            raise ProtocolError(f"{sender} sent {kind.kind} in {len(messages)} pieces, which has to be one")
        return messages[0]

    def recv_stream(self, sender: str, kind: type[M], round_: int | None = None) -> Iterator[M]:
        """Return the pieces of the sender's message in order, each as soon as it is there; None is this round."""
        round_ = self._place.round if round_ is None else round_
        place = (sender, kind.kind, round_, self._place.batch)
        chunk, chunks = 0, 1
        while chunk < chunks:
            envelope = self._waiting.wait(place, chunk)
            if chunk and envelope.chunks != chunks:
                raise ProtocolError(f"{sender} changed the number of pieces of {kind.kind}")
            chunks = envelope.chunks
            chunk += 1
            assert isinstance(envelope.payload, kind)  # noqa: S101  # the mailbox is keyed by kind
            yield envelope.payload

    def checkpoint(
        self,
        state: Any,
        blobs: Mapping[str, Buffer] | None = None,
        *,
        round_: int | None = None,
        with_next: bool = False,
    ) -> None:
        """Make the end of a round durable; a restarted role goes on with the next one.

        Args:
            state: of maps, lists, numbers, text, bytes and arrays.
            blobs: by name, what is too long to be packed with the state; others stay as they were.
            round_: that has ended, this one where None.
            with_next: it need not be durable before something is sent, and is then or soon, which takes half the time.
                Until then the blobs must not change.
        """
        self._post.mailbox.check()
        ended = self._place.round if round_ is None else round_
        self._post.journal.checkpoint(Checkpoint(ended, self._packed(state), blobs or {}), with_next=with_next)
        self._post.mailbox.drop_until(ended)

    def blob(self, name: str) -> bytearray | None:
        """Return a blob of the last checkpoint."""
        return self._store.blob(self.job, name)

    def decided(self, kind: type[M], round_: int | None = None) -> M | None:
        """Return what this participant said in a round (None: this one) already, perhaps before a restart.

        A decision that several are told has to be the same for all of them, whenever each is told.
        """
        round_ = self._place.round if round_ is None else round_
        # What was decided in this life is known to whoever decided it.
        body = self._store.decided(self.job, kind.kind, round_) if round_ <= self._posted_before else None
        if body is None:
            return None
        payload = codec.decode(body, self._seals).payload
        assert isinstance(payload, kind)  # noqa: S101  # it was found by its kind
        return payload

    def restore(self) -> Any:
        """Return the state of the last checkpoint, None where there is none."""
        checkpoint = self._store.last_checkpoint(self.job)
        if checkpoint is None:
            return None
        round_, body = checkpoint
        fields = codec.unpack(body)
        self._post.bytes_sent = fields["bytes_sent"]
        self.at(round_)
        self._log.info("job goes on after its last checkpoint", step=round_)
        return fields["state"]

    def random(self, label: str) -> SecretStream:
        """Return secret randomness for one purpose at this place, which is the same after a restart."""
        return SecretStream(self._secret, f"{self.job}/{self.party}/{self._place.round}/{self._place.batch}/{label}")

    def secret(self, label: str) -> SecretStream:
        """Return secret randomness for one purpose of the whole job, the same in every round and after a restart."""
        return SecretStream(self._secret, f"{self.job}/{self.party}/job/{label}")

    def patience(self, seconds: float) -> AbstractContextManager[None]:
        """Wait no longer than this for any one message, whether its sender lives or not."""
        return self._waiting.patience(seconds)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure a phase of the round."""
        with metrics.round_latency.labels(self.spec.algorithm, self.role, name).time():
            yield

    def publish_event(self, message: Message, key: int = 0) -> None:
        """Tell whoever watches; `key` tells events of one kind apart."""
        if isinstance(message, Progress):
            self.latest = message
        self._events.publish(self.job, self._owner, message, key)

    def _tell_watchers(self, sentence: str) -> None:
        self.publish_event(Notice(sentence))

    def when_there_is_room(self, work: Callable[[], T]) -> T:
        """Do what writes to the store, however long its disk is full; raises what ends the job meanwhile."""
        return when_there_is_room(work, self._post.wait_for_room, self._post.tell_of_room)

    def fail(self, error: Exception) -> None:
        """Make the role raise this error where it waits or sends."""
        self._post.mailbox.fail(error)

    def report_failure(self, message: Failed) -> None:
        """Tell the coordinator that this party cannot go on, even where the session itself has failed."""
        self._post.report(self._envelope(self.coordinator, message, 0, 1))

    def wait_for_end(self, end: Future[E]) -> E:
        """Wait for the coordinator's word on the job, which reaches this process by another way.

        Raises:
            PeerSilent: the coordinator gave no sign of life for longer than the job allows.
            CancelledError: the future was cancelled.
        """
        since, asked = time.monotonic(), 0
        while True:
            try:
                return end.result(self.spec.limits.resend)
            except TimeoutError:
                if self._post.mailbox.silence(self.coordinator, since) >= self.spec.limits.silence:
                    raise PeerSilent(f"{self.coordinator} did not say how the job ended (limits.silence)") from None
            asked += 1
            self._post.whisper(self.coordinator, Ping(), asked)

    def _send(self, to: str | Sequence[str], message: Message, chunk: int, chunks: int, ends: Any = None) -> None:
        self._post.mailbox.check()
        recipients = (to,) if isinstance(to, str) else to
        envelopes = [self._envelope(recipient, message, chunk, chunks) for recipient in recipients]
        checkpoint = None if ends is None else Checkpoint(self._place.round, self._packed(ends))
        self._post.send(*envelopes, checkpoint=checkpoint)
        if checkpoint is not None:
            self._post.mailbox.drop_until(checkpoint.round)

    def _packed(self, state: Any) -> bytes:
        return codec.pack({"state": state, "bytes_sent": self._post.bytes_sent})

    def _envelope(self, to: str, message: Message, chunk: int, chunks: int) -> Envelope:
        place = self._place
        return Envelope(
            self.job, self.party, to, message, place.round, place.batch, chunk, chunks, self._post.journal.checkpointed
        )
