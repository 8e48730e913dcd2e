"""What whoever watches jobs is told, and what a client asked for: sealed for each of them, and kept for nobody."""

from __future__ import annotations

from collections.abc import Sequence

from fedbus import codec, topology
from fedbus.broker.base import Broker, Outgoing
from fedbus.messages.envelope import Envelope, Message
from fedbus.seals import IdentitySeals


class Events:
    """Tells the watchers of jobs.

    Args:
        operators: who may watch all jobs, beside the submitter of each.
    """

    def __init__(self, broker: Broker, seals: IdentitySeals, operators: Sequence[str] = ()) -> None:
        self._broker = broker
        self._seals = seals
        self._operators = tuple(name for name in operators if seals.knows(name))

    def publish(self, job: str, owner: str, message: Message, key: int = 0) -> None:
        """Tell of a job; nobody need be there to hear it.

        Args:
            owner: who submitted it.
            key: tells events of one kind apart.
        """
        watchers = [name for name in dict.fromkeys((owner, *self._operators)) if self._seals.knows(name)]
        if not watchers:
            return
        envelopes = [Envelope(job, self._seals.name, watcher, message, round=key) for watcher in watchers]
        for envelope, body in zip(envelopes, codec.encode_all(envelopes, self._seals), strict=True):
            # A watcher that misses an event asks; the delivery thread, which publishes some, must not wait.
            self._send(topology.EVENTS, topology.event_key(envelope.sender, job, envelope.kind), envelope, body)

    def reply(self, request: Envelope, message: Message) -> None:
        """Tell one client what it asked for; it may have gone meanwhile."""
        envelope = Envelope(request.job, self._seals.name, request.sender, message)
        body = codec.encode(envelope, self._seals)
        self._send(
            topology.REPLIES, topology.reply_key(envelope.recipient, envelope.job, envelope.kind), envelope, body
        )

    def _send(self, exchange: str, key: str, envelope: Envelope, body: bytes) -> None:
        self._broker.publish(Outgoing(exchange, key, body, envelope.id, mandatory=False), wait=False)
