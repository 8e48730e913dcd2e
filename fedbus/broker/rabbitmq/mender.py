"""Queues that take no messages are deleted and declared again. All of it runs on the I/O thread."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog

from fedbus import topology
from fedbus.broker.rabbitmq.probe import Prober, QueueProbe
from fedbus.broker.rabbitmq.steps import Step, Steps, look_step, queue_steps
from fedbus.topology import Queue

log = structlog.get_logger(__name__)

_LOST = "the connection was lost"

# A queue whose process does not answer is one of no messages to RabbitMQ, 250 ms later.
_BUSY_SECONDS = 0.15

Done = Callable[[str | None], None]


class Count:
    """It finds out how much a queue holds, and how long the queue took to say so.

    Attributes:
        empty: it has neither messages nor consumers, or did not answer.
        seconds: until the quickest answer; infinite where there was none.
    """

    def __init__(self) -> None:
        self.empty = True
        self.seconds = math.inf

    def step(self, name: str) -> Step:
        """Return the command that asks."""

        def ask(channel: Any, then: Callable[[Any], None]) -> None:
            began = time.monotonic()

            def answered(frame: Any) -> None:
                self.seconds = min(self.seconds, time.monotonic() - began)
                self.empty = not frame.method.message_count and not frame.method.consumer_count
                then(frame)

            look_step(name)(channel, answered)

        return ask


class Mender:
    """It looks after queues that exist but may have no leader; `probe.py` says what that is.

    A queue is deleted only where it says itself that it holds nothing, and no deletion can lose anything then:

    - A new queue, declared for this purpose, takes a message while it does not. Both write to the same log, so a slow
      disk, or a broker short of nodes, is waited for.
    - It answers at once how many messages and consumers it has, and has none. A queue that has lost its leader does:
      its process is there and idle. One that reads a long log after a restart, or is busy, does not answer; RabbitMQ
      then says 0 in its place after 250 ms, so such a 0 means nothing, and the queue is asked again later.
    """

    def __init__(self, prober: Prober, user: str) -> None:
        self._prober = prober
        self._user = user
        self._connection: Any = None
        self._looked_at: set[str] = set()

    def up(self, connection: Any) -> None:
        """Take note that a connection was made over which queues can be declared."""
        self._connection = connection

    def down(self) -> None:
        """Take note that the connection was lost."""
        self._connection = None

    def check(self, queues: Sequence[Queue], done: Done) -> None:
        """Ask these queues for a sign of life, and delete those that give none.

        Args:
            done: called with None where all answered; otherwise with why they are to be declared and checked again.
        """
        names = {queue.name for queue in queues}
        if names & self._looked_at:
            done("the queue is being looked at already")
            return
        self._looked_at |= names

        def ended(why: str | None) -> None:
            self._looked_at -= names
            done(why)

        self._prober.ask(queues, partial(self._on_asked, ended))

    def _on_asked(self, done: Done, mute: list[QueueProbe] | None) -> None:
        if mute is None or self._connection is None:
            done(_LOST)
            return
        if not mute:
            done(None)
            return
        trial = topology.trial_queue(self._user, secrets.token_hex(8))

        def declared(reason: BaseException | None) -> None:
            if reason is not None:
                done(f"no queue could be declared to compare with: {reason}")
            else:
                self._prober.ask([trial], partial(self._on_tried, done, mute, trial))

        Steps(self._connection, queue_steps(trial), declared)

    def _on_tried(self, done: Done, mute: list[QueueProbe], trial: Queue, slow: list[QueueProbe] | None) -> None:
        if slow is None or self._connection is None:
            done(_LOST)
            return
        broken = [probe.queue.name for probe in mute if not probe.answered]
        if slow or not broken:
            self._delete(trial.name, lambda _: None)
        if slow:
            log.warning("RabbitMQ takes long to confirm messages for any queue", queues=broken)
            done("RabbitMQ takes long to confirm messages for any queue")
        elif broken:
            self._count(trial, mute, done)
        else:
            done(None)

    def _count(self, trial: Queue, mute: list[QueueProbe], done: Done) -> None:
        """Ask what the mute queues hold; the trial queue, asked first and last, tells how long a sound one takes."""
        left = [trial.name, *(probe.queue.name for probe in mute), trial.name]
        counts = {name: Count() for name in left}

        def counted(name: str, reason: BaseException | None) -> None:
            if self._connection is None:
                done(_LOST)
                return
            if reason is not None:
                counts[name] = Count()
            if left:
                ask(left.pop(0))
            else:
                self._delete(trial.name, lambda _: None)
                self._on_counted(counts, trial, mute, done)

        def ask(name: str) -> None:
            Steps(self._connection, [counts[name].step(name)], partial(counted, name))

        ask(left.pop(0))

    def _on_counted(self, counts: dict[str, Count], trial: Queue, mute: list[QueueProbe], done: Done) -> None:
        # The trial queue holds the message that asked it: where it is empty, it did not answer.
        sound = counts[trial.name]
        quick = 0.0 if sound.empty else sound.seconds + _BUSY_SECONDS
        # One that has answered meanwhile was slow.
        broken = [probe.queue.name for probe in mute if not probe.answered]
        lost = [name for name in broken if counts[name].empty and counts[name].seconds < quick]
        if busy := [name for name in broken if name not in lost]:
            log.warning("a queue takes no messages for now, and is not idle; it is waited for", queues=busy)
        if lost:
            self._delete_all(lost, done)
        else:
            done(f"queue {', '.join(busy)}: takes no messages for now" if busy else None)

    def _delete_all(self, names: list[str], done: Done) -> None:
        left = set(names)

        def deleted(name: str, reason: BaseException | None) -> None:
            left.discard(name)
            if reason is not None:
                log.warning("queue not deleted", queue=name, why=str(reason))
            if not left:
                done(f"queue {', '.join(names)}: took no messages")

        for name in names:
            log.warning(
                "a queue takes no messages although others do, as after a kill of RabbitMQ soon after its declaration;"
                " it is deleted and declared again, and what it held is sent again when it is missed",
                queue=name,
            )
            self._delete(name, partial(deleted, name))

    def _delete(self, name: str, done: Callable[[BaseException | None], None]) -> None:
        def delete(channel: Any, then: Callable[[Any], None]) -> None:
            channel.queue_delete(name, callback=then)

        Steps(self._connection, [delete], done)
