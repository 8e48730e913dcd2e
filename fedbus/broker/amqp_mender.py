"""Queues that take no messages are deleted and declared again. All of it runs on the I/O thread."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog

from fedbus import topology
from fedbus.broker.amqp_probe import Probe, Prober
from fedbus.broker.amqp_steps import Steps, queue_steps
from fedbus.topology import Queue

log = structlog.get_logger(__name__)

_LOST = "the connection was lost"

Done = Callable[[str | None], None]


class Mender:
    """Makes sure of queues that are there but may have no leader; see `amqp_probe`.

    A queue is deleted only where a new one, declared for this purpose, takes a message while it does not: a broker that
    is slow, or short of nodes, is waited for. A queue without a leader has lost what it held.
    """

    def __init__(self, prober: Prober, user: str) -> None:
        self._prober = prober
        self._user = user
        self._connection: Any = None
        self._looked_at: set[str] = set()

    def up(self, connection: Any) -> None:
        """A connection was made over which queues can be declared."""
        self._connection = connection

    def down(self) -> None:
        """It was lost."""
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

    def _on_asked(self, done: Done, mute: list[Probe] | None) -> None:
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

    def _on_tried(self, done: Done, mute: list[Probe], trial: Queue, slow: list[Probe] | None) -> None:
        if slow is None or self._connection is None:
            done(_LOST)
            return
        self._delete(trial.name, lambda _: None)
        broken = [probe.queue.name for probe in mute if not probe.answered]
        if slow:
            log.warning("RabbitMQ takes long to confirm messages for any queue", queues=broken)
            done("RabbitMQ takes long to confirm messages for any queue")
        elif broken:
            self._delete_all(broken, done)
        else:
            done(None)

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
