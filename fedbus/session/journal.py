"""The journal keeps one job's messages in a participant's store, with as few writes as are safe,
for each takes a while.

What is sent is durable before it leaves. A message received is read at once and acknowledged later: once a checkpoint
covers it, or once it was written down because none came soon. Until then the broker has it, and so has its sender, who
keeps it until this participant's checkpoint covers it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import structlog

from fedbus.broker.base import Delivery
from fedbus.errors import StoreError, StoreFull
from fedbus.retry import delay
from fedbus.session.room import when_there_is_room
from fedbus.store.base import Store
from fedbus.store.records import Checkpoint, StoredMessage

log = structlog.get_logger()

# How long something may wait, in seconds: far below any time-out of a broker or a peer.
_DELAY = 0.25
# So many messages wait no longer: a broker delivers no more than the prefetch (64) ahead of acknowledgements.
_MANY = 32
# What waits in memory, about; whoever brings a long message waits until it is written.
_MOST_BYTES = 1024**2
_LONG_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class _Received:
    """A message that is not durable here, and its deliveries: several where a connection was lost meanwhile."""

    message: StoredMessage
    deliveries: list[Delivery]


class Journal:
    """One participant's inbox, outbox and checkpoint in one job. Any thread may call it.

    Args:
        failed: told where the store cannot be written and no caller hears of it.
        wait: called with seconds while the disk is full; raises where there is nothing to wait for any more.
        tell: told that the disk is full, again and again, and with None that it has room again.

    Attributes:
        checkpointed: the round of the last checkpoint that is durable, -1 for none.
    """

    def __init__(
        self,
        job: str,
        store: Store,
        failed: Callable[[Exception], None],
        wait: Callable[[float], object],
        tell: Callable[[StoreFull | None], object],
    ) -> None:
        self.checkpointed = -1
        self._job = job
        self._store = store
        self._failed = failed
        self._wait = wait
        self._tell = tell
        # To write what could wait, without success since the last one.
        self._attempts = 0
        # One writes at a time, so that a checkpoint cannot be overtaken by what it covers.
        self._writing = threading.Lock()
        self._changed = threading.Condition()
        self._received: dict[str, _Received] = {}
        self._bytes = 0
        # Ids of what was received and no checkpoint covers, with their rounds.
        self._known: dict[str, int] = {}
        self._checkpoint: Checkpoint | None = None
        # What could wait is done when something has waited this long, and then all of it: deliveries to acknowledge;
        # whom this participant and each recipient need no longer, up to which round.
        self._since: float | None = None
        self._settled: list[Delivery] = []
        self._covered: int | None = None
        self._trims: dict[str, int] = {}
        # Up to which round each peer has checkpointed, as far as it said so.
        self._peers: dict[str, int] = {}
        self._idle = False
        self._closed = True
        self._clock: threading.Thread | None = None

    def open(self) -> Iterator[StoredMessage]:
        """Begin. Return what was received before a restart and no checkpoint covers."""
        last = self._store.last_checkpoint(self._job)
        self.checkpointed = last[0] if last else -1
        for message in self._store.inbox(self._job, self.checkpointed):
            self._known[message.id] = message.round
            yield message
        self._closed = False
        self._clock = threading.Thread(target=self._watch, name=f"journal {self._job}", daemon=True)
        self._clock.start()

    def close(self) -> None:
        """Write down what waits, and take nothing more."""
        with self._changed:
            was_open, self._closed = not self._closed, True
            self._changed.notify_all()
        if was_open and self._clock is not None:
            # The store may be closed after this, and the job purged.
            self._clock.join()
            self._catch_up()

    def receive(self, message: StoredMessage, delivery: Delivery, checkpointed: int = -1) -> bool:
        """Take a message and see to its acknowledgement. Return False where it was received before.

        Args:
            checkpointed: up to which round its sender has; what it was sent until then is kept no longer.
        """
        with self._changed:
            if self._closed:
                # It comes again where the job goes on.
                return False
            if checkpointed > self._peers.get(message.peer, -1):
                self._peers[message.peer] = self._trims[message.peer] = checkpointed
            new = message.id not in self._known
            if new:
                self._known[message.id] = message.round
                self._received[message.id] = _Received(message, [delivery])
                self._bytes += len(message.body)
            elif message.id in self._received:
                self._received[message.id].deliveries.append(delivery)
            else:
                self._settled.append(delivery)
            self._begin_to_wait()
            # Where the disk is full, what waits in memory is bounded by what the broker delivers ahead.
            full = self._bytes >= _MOST_BYTES and not self._attempts
            if full or (not self._attempts and len(self._received) + len(self._settled) >= _MANY):
                self._since = -math.inf
                self._changed.notify_all()
        if full and len(message.body) >= _LONG_BYTES:
            # Not for a short one, which the connection waits for.
            self._catch_up()
        return new

    def post(self, messages: Sequence[StoredMessage], checkpoint: Checkpoint | None = None) -> list[bool]:
        """Make messages to send durable, and a checkpoint with them.
        Return False for each that is in the outbox already.

        Args:
            checkpoint: that must not be durable without the messages, nor they without it. Where there is none, one
                that waits is taken along.

        Raises:
            StoreError: they cannot be written.
        """
        return when_there_is_room(lambda: self._write(posted=messages, with_posted=checkpoint), self._wait, self._tell)

    def checkpoint(self, checkpoint: Checkpoint, *, with_next: bool) -> None:
        """Replace the job's checkpoint.

        Args:
            with_next: it need not be durable yet, and is when the next message is, or soon. Until something is sent its
                blobs must not change.

        Raises:
            StoreError: it cannot be written.
        """
        with self._changed:
            self._checkpoint = _after(self._checkpoint, checkpoint)
            self._begin_to_wait()
        if not with_next:
            when_there_is_room(self._write, self._wait, self._tell)

    def received(self, message_id: str) -> bytes | None:
        """Return the body of a message that was received."""
        with self._changed:
            waiting = self._received.get(message_id)
        return self._store.received(self._job, message_id) if waiting is None else waiting.message.body

    def _begin_to_wait(self) -> None:
        if self._since is None:
            self._since = time.monotonic()
            if self._idle:
                self._changed.notify_all()

    def _write(
        self,
        *,
        posted: Sequence[StoredMessage] = (),
        with_posted: Checkpoint | None = None,
        received: bool = False,
    ) -> list[bool]:
        """Make durable what is posted, a checkpoint that waits, and where it is wanted what was received."""
        with self._writing:
            with self._changed:
                waiting, self._checkpoint = self._checkpoint, None
                checkpoint = waiting if with_posted is None else _after(waiting, with_posted)
                covered = self.checkpointed if checkpoint is None else checkpoint.round
                kept = [each.message for each in self._received.values() if received and each.message.round > covered]
            new: list[bool] = []
            try:
                if posted or kept or checkpoint is not None:
                    new = self._store.write(self._job, received=kept, posted=posted, checkpoint=checkpoint)
            except StoreError:
                with self._changed:
                    # Nothing may go out that follows from a checkpoint which is not durable.
                    if waiting is not None:
                        self._checkpoint = waiting if self._checkpoint is None else _after(waiting, self._checkpoint)
                raise
            with self._changed:
                self._settle(kept, covered)
        return new

    def _settle(self, kept: Sequence[StoredMessage], covered: int) -> None:
        """Enter which messages are durable, or needed no more, and can be acknowledged."""
        done = {message.id for message in kept}
        done |= {each for each, held in self._received.items() if held.message.round <= covered}
        for each in done:
            held = self._received.pop(each)
            self._bytes -= len(held.message.body)
            self._settled += held.deliveries
        if covered > self.checkpointed:
            self.checkpointed = self._covered = covered
            self._known = {each: round_ for each, round_ in self._known.items() if round_ > covered}

    def _catch_up(self) -> None:
        """Do all that could wait."""
        with self._changed:
            self._since = None
        try:
            self._write(received=True)
            with self._changed:
                settled, self._settled = self._settled, []
                trims, self._trims = self._trims, {}
                covered, self._covered = self._covered, None
            for delivery in settled:
                delivery.ack()
            # A restart passes over what a checkpoint covers, so these are in no hurry.
            if trims or covered is not None:
                self._forget(covered, trims)
            if self._attempts:
                self._attempts = 0
                self._tell(None)
        except StoreFull as error:
            self._tell(error)
            with self._changed:
                self._attempts += 1
                self._since = time.monotonic() + delay(self._attempts)
        except StoreError as error:
            # What was not acknowledged comes again.
            log.error("the journal cannot be written", job=self._job, error=str(error))  # noqa: TRY400
            self._failed(error)

    def _forget(self, covered: int | None, trims: dict[str, int]) -> None:
        try:
            self._store.forget(self._job, covered, trims)
        except StoreFull:
            with self._changed:
                self._covered = covered if self._covered is None else self._covered
                self._trims = {**trims, **self._trims}
            raise

    def _watch(self) -> None:
        """Catch up when something has waited for long enough."""
        while True:
            with self._changed:
                self._idle = True
                self._changed.wait_for(lambda: self._closed or self._since is not None)
                self._idle = False
                self._changed.wait_for(lambda: self._closed or self._overdue(), self._left())
                if self._closed:
                    return
                overdue = self._overdue()
            if overdue:
                try:
                    self._catch_up()
                except Exception as error:
                    log.exception("internal error in the journal", job=self._job)
                    self._failed(error)

    def _left(self) -> float:
        return 0.0 if self._since is None else max(0.0, self._since + _DELAY - time.monotonic())

    def _overdue(self) -> bool:
        return self._since is not None and not self._left()


def _after(last: Checkpoint | None, checkpoint: Checkpoint) -> Checkpoint:
    """A checkpoint with the blobs of one before it that was not written."""
    return checkpoint if last is None else replace(checkpoint, blobs={**last.blobs, **checkpoint.blobs})
