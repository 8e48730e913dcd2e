"""What a party tells a coordinator of a job without a session: why it has none, or that it waits."""

from __future__ import annotations

import structlog

from fedbus import codec, topology
from fedbus.broker.base import Broker, Outgoing
from fedbus.errors import FedbusError
from fedbus.job import COORDINATOR, JobSpec
from fedbus.messages.control import Departed, Failed, Inquire, StateChanged
from fedbus.messages.envelope import Envelope, Message
from fedbus.messages.fields import shortened
from fedbus.seals import IdentitySeals
from fedbus.session.events import Events
from fedbus.session.session import Session
from fedbus.store.records import JobRecord

log = structlog.get_logger()


class Replies:
    """Sends for one party; does not wait, and what is lost is asked for again."""

    def __init__(self, broker: Broker, seals: IdentitySeals, events: Events) -> None:
        self._broker = broker
        self._party = seals.name
        self._seals = seals
        self._events = events

    def refuse(self, job: str, coordinator: str, reason: str) -> None:
        """Tell the coordinator why the job does not go on here."""
        log.warning("job refused", job=job, reason=reason)
        self.say(job, coordinator, Failed(shortened(reason)))

    def refuse_unknown(self, job: str, coordinator: str) -> None:
        """Tell the coordinator that this party's store has no such job, though it took part in it."""
        self.refuse(job, coordinator, f"its store has no job {job}: it was lost or replaced")

    def say(self, job: str, coordinator: str, message: Message) -> None:
        """Send a message to the job's queue at the coordinator."""
        self._publish(
            topology.data_key(self._party, coordinator, job), Envelope(job, self._party, coordinator, message)
        )

    def inquire(self, session: Session[JobSpec], coordinator: str) -> None:
        """Ask a silent coordinator's process how the job ended; it answers where the job has, or where it has none."""
        log.info("coordinator silent; asking whether it has the job", job=session.job)
        envelope = Envelope(session.job, self._party, coordinator, Inquire())
        self._publish(topology.question_key(self._party, coordinator), envelope)

    def depart(self, job: str, coordinator: str) -> None:
        """Tell a coordinator's process that this party has seen a job through."""
        envelope = Envelope(job, self._party, coordinator, Departed())
        self._publish(topology.question_key(self._party, coordinator), envelope)

    def announce(self, record: JobRecord) -> None:
        """Tell whoever waits for this party's end what its ledger has."""
        change = StateChanged(record.state.value, record.reason)
        self._events.publish(record.job, record.owner, change)

    def _publish(self, key: str, envelope: Envelope) -> None:
        self._broker.publish(Outgoing(topology.DATA, key, codec.encode(envelope, self._seals), envelope.id), wait=False)


def coordinator_of(record: JobRecord) -> str:
    """Return who coordinates a job of the ledger."""
    return str(codec.unpack(record.spec).get("coordinator", COORDINATOR))


def told(error: Exception, *, everything: bool) -> str:
    """What other participants are told of an error; in a simulation all of it, for they are one person."""
    if not isinstance(error, FedbusError):
        return f"internal error ({type(error).__name__}); its log says more"
    return str(error) if everything else error.told
