"""What the broker should let each role do, and what it should not: tried, one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fedbus import topology
from fedbus.broker.rabbitmq.inspection import Inspection
from fedbus.cli.doctor.findings import Findings
from fedbus.errors import AccessRefused, Unroutable
from fedbus.identity import Role
from fedbus.statuses import Status

_WORD = "doctor"
# A name that no member of a federation is likely to have.
_OTHER = "nobody-else"
_REMEDY = (
    "the broker's administrator makes new definitions by `fedbus broker-definitions`, with the same folder of URLs, and"
    " imports them"
)


@dataclass(frozen=True, slots=True)
class Right:
    """Something that a user may do, or may not.

    Attributes:
        what: completes "may …".
        due: whether the role needs it; otherwise nobody of this role should have it.
    """

    what: str
    attempt: Callable[[Inspection], object]
    due: bool = True


def rights(user: str, role: Role) -> list[Right]:
    """Return what is tried for a user; fedbus.topology says what each role may do."""
    match role:
        case Role.PARTY:
            return [
                *(_publish(exchange, f"{user}.{_OTHER}.{_WORD}") for exchange in (topology.DATA, topology.EVENTS)),
                _publish(topology.DEAD, _WORD),
                Right("read its own queues", lambda at: at.read(f"fedbus.party.{user}.{_WORD}")),
                _publish(
                    topology.DATA, f"{_OTHER}.{_OTHER}.{_WORD}", "publish to fedbus.data as another party", due=False
                ),
                _publish(topology.CONTROL, f"{_OTHER}.{_WORD}.{_WORD}", "give orders to parties", due=False),
                Right("read others' queues", lambda at: at.read(f"fedbus.party.{_OTHER}.{_WORD}"), due=False),
            ]
        case Role.COORDINATOR:
            writes = (topology.CONTROL, topology.DATA, topology.EVENTS, topology.REPLIES)
            return [
                *(_publish(exchange, f"{user}.{_OTHER}.{_WORD}") for exchange in writes),
                _publish(topology.DEAD, _WORD),
                Right(
                    "declare queues and bind them to fedbus.data",
                    lambda at: at.bind(topology.DATA, f"*.{user}.{_WORD}"),
                ),
                Right("read its own queues", lambda at: at.read(f"fedbus.party.{user}.{_WORD}")),
                Right("read parties' queues", lambda at: at.read(f"fedbus.party.{_OTHER}.{_WORD}"), due=False),
            ]
        case Role.CLIENT:
            return [
                _publish(topology.JOBS, _WORD),
                Right("watch jobs", lambda at: at.bind(topology.EVENTS, f"*.{_WORD}.*")),
                Right("receive its own answers", lambda at: at.bind(topology.REPLIES, f"{user}.{_WORD}.*")),
                Right(
                    "receive others' answers", lambda at: at.bind(topology.REPLIES, f"{_OTHER}.{_WORD}.*"), due=False
                ),
                _publish(topology.DATA, f"{_OTHER}.{_OTHER}.{_WORD}", "publish as a party", due=False),
            ]


def examine(at: Inspection, user: str, role: Role, found: Findings) -> None:
    """Try all that the role needs, and what it should not have."""
    tried = rights(user, role)
    faults = False
    for right in tried:
        try:
            right.attempt(at)
        except AccessRefused as error:
            if right.due:
                faults = True
                found.fail("rights", f"{user} may not {right.what} ({error}): {_REMEDY}", Status.BROKER)
        except Unroutable:
            # That there is no such exchange is told of the queues and exchanges.
            continue
        else:
            if not right.due:
                faults = True
                found.warn("rights", f"{user} may {right.what}, which a {role} should not: {_REMEDY}")
    if not faults:
        needed = sum(right.due for right in tried)
        found.ok(
            "rights",
            f"{user} may do what a {role} needs ({needed} things tried), and no more ({len(tried) - needed} tried)",
        )


def _publish(exchange: str, key: str, what: str = "", *, due: bool = True) -> Right:
    return Right(what or f"publish to {exchange}", lambda at: at.try_publishing(exchange, key), due)
