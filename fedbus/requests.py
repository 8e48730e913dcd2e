"""A client sends its requests to the coordinator's queue, which is missing for a moment while it is declared again."""

from __future__ import annotations

import secrets
import time
from concurrent.futures import Future

from fedbus import codec, topology
from fedbus.broker.base import Broker, Outgoing
from fedbus.errors import AccessRefused, ConfigError, ConnectionLost, Unroutable
from fedbus.messages.envelope import Envelope
from fedbus.names import JOB_ID
from fedbus.retry import delay
from fedbus.seals import IdentitySeals

_CONFIRM_SECONDS = 30.0
_TRIES = 4


def declare_watch(broker: Broker, name: str) -> str:
    """Declare a client's own queue for what it is told, and return the queue's name.

    Raises:
        AccessRefused: the connection's user is no client's.
    """
    watch = topology.watch_queue(broker.user, secrets.token_hex(8), name)
    try:
        broker.declare([watch])
    except AccessRefused as error:
        raise AccessRefused(
            f"the broker's user {broker.user} may not watch jobs: they are submitted, watched and cancelled as a"
            f" client's user, not as a party or the coordinator ({error})"
        ) from error
    return watch.name


def request(broker: Broker, seals: IdentitySeals, key: str, envelope: Envelope) -> None:
    """Send a request, and wait until the broker has it.

    Args:
        seals: of the client.
        key: the routing key.

    Raises:
        ConfigError: the envelope's job is no job id, or the request is too long.
        Unroutable: no coordinator has ever been there.
        ConnectionLost: the broker does not confirm.
    """
    if not JOB_ID.fullmatch(envelope.job):
        raise ConfigError(f"{envelope.job!r} is no job id; `fedbus submit` prints one")
    for attempt in range(1, _TRIES + 1):
        try:
            publish(broker, seals, key, envelope).result(_CONFIRM_SECONDS)
        except Unroutable:
            if attempt == _TRIES:
                raise Unroutable("no coordinator serves this broker: start fedbus-coordinator first") from None
            time.sleep(delay(attempt))
        except TimeoutError:
            raise ConnectionLost(f"the broker did not confirm within {_CONFIRM_SECONDS:g} s") from None
        else:
            return


def publish(broker: Broker, seals: IdentitySeals, key: str, envelope: Envelope, *, wait: bool = True) -> Future[None]:
    """Send a request; see Broker.publish. Raises ConfigError where it is too long."""
    body = codec.encode(envelope, seals)
    if len(body) > (most := codec.most_bytes(envelope.kind)):
        raise ConfigError(f"the job takes {len(body):,} bytes to submit; {most:,} are allowed")
    return broker.publish(Outgoing(topology.JOBS, key, body, secrets.token_hex(16)), wait=wait)
