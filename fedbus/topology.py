"""Every exchange, queue and routing key is named here, and who may use it: this is the one place where names are made.

The administrator (or the coordinator, where it has the right) declares the topology. A party declares nothing: it
reads its own queues and writes under its own name only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

JOBS = "fedbus.jobs"
CONTROL = "fedbus.control"
DATA = "fedbus.data"
EVENTS = "fedbus.events"
REPLIES = "fedbus.replies"
DEAD = "fedbus.dead"
EXCHANGES = (JOBS, CONTROL, DATA, EVENTS, REPLIES, DEAD)
# Not the name of the exchange, which permissions cannot tell apart: who may publish there could bind the queue, too.
JOBS_QUEUE = "fedbus.jobs.requests"
PARTY_QUEUES = r"^fedbus\.party\..*$"
WATCH_QUEUES = r"^fedbus\.watch\..*$"

SUBMIT = "submit"
QUERY = "query"
CANCEL = "cancel"

DELIVERY_LIMIT = 20
JOB_QUEUE_EXPIRES_MS = 7 * 24 * 3600 * 1000
TRIAL_QUEUE_EXPIRES_MS = 60_000
JOB_QUEUE_MAX_BYTES = 2 * 1024**3
# Whoever may publish can fill a queue: each is bounded by bytes, so that none of them fills the broker's disk.
JOBS_QUEUE_MAX_BYTES = 256 * 1024**2
CONTROL_QUEUE_MAX_BYTES = 256 * 1024**2
QUESTIONS_QUEUE_MAX_BYTES = 16 * 1024**2
DEAD_MAX_LENGTH = 10_000
DEAD_MAX_BYTES = 512 * 1024**2
WATCH_MAX_LENGTH = 10_000
WATCH_MAX_BYTES = 16 * 1024**2
WATCH_EXPIRES_MS = 10 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue, what it is bound to, and its arguments as the broker knows them.

    Attributes:
        bindings: (exchange, routing key) pairs.
        arguments: AMQP queue arguments (x-…).
        exclusive: belongs to one connection and goes with it.
    """

    name: str
    bindings: tuple[tuple[str, str], ...] = ()
    arguments: dict[str, Any] = field(default_factory=dict)
    exclusive: bool = False

    @property
    def is_quorum(self) -> bool:
        """Whether the queue is replicated and survives a restart of the broker, as all but watchers' queues are."""
        return self.arguments.get("x-queue-type") == "quorum"


def _quorum(**arguments: Any) -> dict[str, Any]:
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        **{"x-" + name.replace("_", "-"): value for name, value in arguments.items()},
    }


def jobs_queue() -> Queue:
    """Return the queue in which clients' submissions, queries and cancellations wait for the coordinator."""
    arguments = _quorum(dead_letter_exchange=DEAD, max_length_bytes=JOBS_QUEUE_MAX_BYTES, overflow="reject-publish")
    return Queue(JOBS_QUEUE, tuple((JOBS, key) for key in (SUBMIT, QUERY, CANCEL)), arguments)


def dead_queue() -> Queue:
    """Return the queue for what could not be processed, with the reason in the header `x-fedbus-reason`."""
    arguments = {
        "x-queue-type": "quorum",
        "x-max-length": DEAD_MAX_LENGTH,
        "x-max-length-bytes": DEAD_MAX_BYTES,
        "x-overflow": "drop-head",
    }
    return Queue(DEAD, ((DEAD, "#"),), arguments)


def control_queue(party: str) -> Queue:
    """Return the queue in which the coordinator asks a party to start or to cancel."""
    arguments = _quorum(
        single_active_consumer=True, max_length_bytes=CONTROL_QUEUE_MAX_BYTES, overflow="reject-publish"
    )
    return Queue(f"fedbus.party.{party}.control", ((CONTROL, f"{party}.*.*"),), arguments)


def questions_queue(coordinator: str) -> Queue:
    """Return the queue in which parties ask the coordinator's process about jobs of which they hear nothing."""
    arguments = _quorum(max_length_bytes=QUESTIONS_QUEUE_MAX_BYTES, overflow="reject-publish")
    return Queue(f"fedbus.party.{coordinator}.questions", ((DATA, f"*.{coordinator}"),), arguments)


def job_queue(party: str, job: str) -> Queue:
    """Return the queue for all that a participant receives in one job."""
    arguments = _quorum(expires=JOB_QUEUE_EXPIRES_MS, max_length_bytes=JOB_QUEUE_MAX_BYTES, overflow="reject-publish")
    return Queue(f"fedbus.party.{party}.job.{job}", ((DATA, f"*.{party}.{job}"),), arguments)


def trial_queue(user: str, token: str) -> Queue:
    """Return a queue that shows whether the broker takes messages for a new queue at all; nobody reads it."""
    arguments = _quorum(expires=TRIAL_QUEUE_EXPIRES_MS)
    return Queue(f"fedbus.party.{user}.trial.{token}", ((DATA, f"*.{user}.trial-{token}"),), arguments)


def watch_queue(user: str, token: str, name: str = "", job: str = "*") -> Queue:
    """Return a watcher's own queue for events and for what it alone is told;
    it goes when the watcher's connection goes.

    Args:
        name: the client's, where several share one user of the broker.
    """
    arguments = {"x-max-length": WATCH_MAX_LENGTH, "x-overflow": "drop-head"}
    bindings = ((EVENTS, f"*.{job}.*"), (REPLIES, f"{name or user}.*.*"))
    return Queue(f"fedbus.watch.{user}.{token}", bindings, arguments, exclusive=True)


def policies() -> list[dict[str, Any]]:
    """Return RabbitMQ policies, which an administrator sets.

    What a party's queue gives up goes to the dead letters. Not an argument of the queue: RabbitMQ asks of whoever
    declares a queue with a dead-letter exchange that he may read the queue, and the coordinator may not read a party's.

    A client declares its watch queue itself, with what arguments it likes: where an argument and a policy differ,
    the broker keeps to the lower bound.
    """
    dead_letters = {"dead-letter-exchange": DEAD}
    bounds = {
        "max-length": WATCH_MAX_LENGTH,
        "max-length-bytes": WATCH_MAX_BYTES,
        "expires": WATCH_EXPIRES_MS,
        "overflow": "drop-head",
    }
    return [
        {"name": "fedbus-dead-letters", "pattern": PARTY_QUEUES, "apply-to": "queues", "definition": dead_letters},
        {"name": "fedbus-watch-bounds", "pattern": WATCH_QUEUES, "apply-to": "queues", "definition": bounds},
    ]


def control_key(party: str, job: str, kind: str) -> str:
    """Return a routing key on CONTROL."""
    return f"{party}.{job}.{kind}"


def data_key(sender: str, recipient: str, job: str) -> str:
    """Return a routing key on DATA."""
    return f"{sender}.{recipient}.{job}"


def question_key(sender: str, coordinator: str) -> str:
    """Return a routing key on DATA for what concerns the coordinator's process and not one job's queue."""
    return f"{sender}.{coordinator}"


def event_key(sender: str, job: str, kind: str) -> str:
    """Return a routing key on EVENTS."""
    return f"{sender}.{job}.{kind}"


def reply_key(user: str, job: str, kind: str) -> str:
    """Return a routing key on REPLIES."""
    return f"{user}.{job}.{kind}"


def permissions(user: str, role: str) -> dict[str, str]:
    """Return RabbitMQ permissions (configure, write, read) of a user whose role is coordinator, party or client.

    A permission names exchanges and queues alike. To bind a queue takes writing it and reading the exchange.
    """
    exchange = {name: name.replace(".", r"\.") for name in EXCHANGES}
    match role:
        case "coordinator":
            # All exchanges, to bind queues to them; no other participant's queue.
            jobs, own = JOBS_QUEUE.replace(".", r"\."), rf"fedbus\.(party|watch)\.{user}\..*"
            reads = "|".join([*exchange.values(), jobs, own])
            return {"configure": r"^fedbus\..*$", "write": r"^fedbus\..*$", "read": f"^({reads})$"}
        case "party":
            writes = "|".join(exchange[name] for name in (DATA, EVENTS, DEAD))
            return {"configure": "^$", "write": f"^({writes})$", "read": rf"^fedbus\.party\.{user}\..*$"}
        case "client":
            own = rf"fedbus\.watch\.{user}\..*"
            return {
                "configure": f"^{own}$",
                "write": f"^({exchange[JOBS]}|{own})$",
                "read": f"^({exchange[EVENTS]}|{exchange[REPLIES]}|{own})$",
            }
        case _:
            raise ValueError(f"no such role: {role}")


def topic_permissions(user: str, role: str) -> list[dict[str, str]]:
    """Return RabbitMQ topic permissions.

    A party writes to DATA and EVENTS only under its own name; a client binds its queue to its own replies only.
    """
    own = rf"^{user}\..*$"
    match role:
        case "party":
            return [{"exchange": name, "write": own, "read": "^$"} for name in (DATA, EVENTS)]
        case "client":
            return [{"exchange": REPLIES, "write": "^$", "read": own}]
        case _:
            return []
