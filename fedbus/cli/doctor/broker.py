"""What lies between a member and its federation: the network, TLS, the login, rights, queues, and clocks."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket

from fedbus import topology
from fedbus.broker.rabbitmq.broker import AmqpBroker
from fedbus.broker.rabbitmq.inspection import Clocks, Inspection, certificate_end
from fedbus.broker.rabbitmq.login import Login
from fedbus.cli.doctor import rights
from fedbus.cli.doctor.findings import Findings
from fedbus.cli.doctor.member import Subject
from fedbus.errors import AccessRefused, BrokerError, ConfigError, Untrusted
from fedbus.identity import Role
from fedbus.statuses import Status

_SECONDS = 10.0
_DAYS = 30
# Nothing depends on less; keys and certificates end at the end of a day or at a second of it.
_LITTLE, _MUCH = 60.0, 3600.0
_LATER = ("rights", "queues", "round trip", "clock")
_DEFINITIONS = "the broker's administrator imports the definitions that `fedbus broker-definitions` prints"


def examine(subject: Subject, found: Findings) -> None:
    """Take all steps that need the broker, and say which cannot be taken."""
    login = _examine_login_data(subject, found)
    if login is None or not _reached(login, found) or not _logged_in(subject, login, found):
        for step in _LATER:
            found.leave(step, "there is no connection to the broker")
        return
    with found.step("connection"), Inspection(login) as at:
        with found.step("rights"):
            rights.examine(at, login.user, subject.role, found)
        with found.step("queues"):
            _examine_queues(at, subject, login.user, found)
        with found.step("round trip"):
            _examine_round_trip(at, subject, login.user, found)
        with found.step("clock"):
            _examine_clock(at, subject, found)


def examine_clocks(clocks: Clocks, found: Findings) -> None:
    """Find out whether this machine's clock and the broker's say the same time, as far as it matters."""
    ahead = clocks.ahead
    how = f"this machine's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the broker's"
    remedy = "set both by NTP, as by `timedatectl set-ntp true`"
    if abs(ahead) >= _MUCH:
        found.fail("clock", f"{how}; keys and certificates end too early or too late by it: {remedy}", Status.OTHER)
    elif abs(ahead) >= _LITTLE:
        found.warn("clock", f"{how}: {remedy}")
    else:
        found.ok("clock", f"as the broker's, to {max(1.0, abs(ahead)):.0f} s")


def _examine_login_data(subject: Subject, found: Findings) -> Login | None:
    """Hold the URL and the files for TLS against each other, before anybody is asked."""
    if not subject.broker.url:
        found.fail("connection", "broker.url: missing; name the file with it in FEDBUS_AMQP_URL_FILE")
        return None
    try:
        login = Login(subject.broker.url, subject.tls)
        subject.tls.check_dates()
    except (ConfigError, Untrusted) as error:
        found.fail("tls", str(error), error.exit_status)
        return None
    if not login.secure:
        if _is_local(login.host):
            found.ok("tls", "without, to a broker on this machine")
        else:
            found.warn(
                "tls", f"without: whoever is between here and {login.host} reads what travels; see docs/howto/tls.md"
            )
    elif soon := subject.tls.ending(_DAYS):
        found.warn("tls", soon)
    else:
        trusted = subject.tls.ca or "the system's authorities"
        found.ok("tls", f"by {trusted}; login by {'certificate' if login.certified else 'password'}")
    if subject.broker.verify_sender and subject.name and login.user != subject.name:
        found.fail(
            "login",
            f"the broker's URL, or the certificate in its place, is of user {login.user!r}, and this is"
            f" {subject.name!r}; the two have to be the same",
        )
        return None
    subject.name = subject.name or login.user
    return login


def _reached(login: Login, found: Findings) -> bool:
    """Return whether something listens there, at once: the connection of an `AmqpBroker` is tried again and again."""
    try:
        socket.create_connection((login.host, login.port), _SECONDS).close()
    except OSError as error:
        reason = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        found.fail(
            "connection",
            f"{login.place} cannot be reached: {reason}; check that the broker runs, host and port of its URL, and that"
            " no firewall keeps connections out",
            Status.BROKER,
        )
        return False
    found.ok("connection", f"{login.place} takes connections")
    return True


def _logged_in(subject: Subject, login: Login, found: Findings) -> bool:
    broker = AmqpBroker(subject.broker.url, tls=subject.tls, heartbeat=subject.broker.heartbeat)
    with contextlib.closing(broker):
        try:
            broker.connect(_SECONDS)
        except BrokerError as error:
            step = (
                "tls" if isinstance(error, Untrusted) else "login" if isinstance(error, AccessRefused) else "connection"
            )
            found.fail(step, str(error), Status.BROKER)
            return False
    found.ok("login", f"as {login.user} on vhost {login.vhost}")
    if login.secure and (end := certificate_end(login)):
        text = f"the broker's certificate ends on {end:%Y-%m-%d}"
        if end < datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=_DAYS):
            found.warn("tls", f"{text}; its administrator renews it by `fedbus tls FOLDER` (docs/howto/tls.md)")
        else:
            found.ok("tls", text)
    return True


def _examine_queues(at: Inspection, subject: Subject, user: str, found: Findings) -> None:
    lacking = [name for name in topology.EXCHANGES if not at.has_exchange(name)]
    if lacking:
        found.fail("queues", f"the broker has no exchange {', '.join(lacking)}: {_DEFINITIONS}", Status.BROKER)
    match subject.role:
        case Role.PARTY:
            _examine_own_queue(at, subject, user, found)
            _look_for_coordinator(at, topology.questions_queue(subject.coordinator).name, subject, found)
        case Role.CLIENT:
            _look_for_coordinator(at, topology.JOBS_QUEUE, subject, found)
        case Role.COORDINATOR:
            _examine_queues_of_all(at, subject, found)


def _examine_own_queue(at: Inspection, subject: Subject, user: str, found: Findings) -> None:
    name = topology.control_queue(user).name
    own = at.queue(name)
    if own is None:
        found.fail(
            "queues",
            f"the broker has no queue {name}, in which this party hears of jobs: {_DEFINITIONS}, with --party {user};"
            f" or {subject.coordinator}'s operator enters it into `parties` and starts the coordinator again",
            Status.BROKER,
        )
    elif own.consumers:
        found.ok("queues", f"{name} is there, and this party's process receives from it")
    else:
        waiting = f", where {own.messages} messages wait" if own.messages else ""
        found.ok("queues", f"{name} is there{waiting}; this party's process does not run")


def _look_for_coordinator(at: Inspection, queue: str, subject: Subject, found: Findings) -> None:
    seen = at.queue(queue)
    if seen is not None and seen.consumers:
        found.ok("queues", f"{subject.coordinator}'s process receives from {queue}")
        return
    why = "does not receive from it" if seen is not None else "has never been at this broker, which has no such queue"
    found.warn("queues", f"{queue}: {subject.coordinator} {why}; its operator starts fedbus-coordinator")


def _examine_queues_of_all(at: Inspection, subject: Subject, found: Findings) -> None:
    jobs = at.queue(topology.JOBS_QUEUE)
    state = "is made when the coordinator starts" if jobs is None else f"is there, where {jobs.messages} messages wait"
    found.ok("queues", f"{topology.JOBS_QUEUE} {state}")
    for party in subject.service.parties if subject.service else ():
        name = topology.control_queue(party).name
        own = at.queue(name)
        told = "is made when the coordinator starts" if own is None else "runs" if own.consumers else "does not run"
        found.ok("queues", f"{party} {told}" if own is not None else f"{name} {told}")
    dead = at.queue(topology.DEAD)
    if dead is not None and dead.messages:
        found.warn(
            "queues", f"{topology.DEAD} has {dead.messages} messages that nobody could take; see docs/runbook.md"
        )


def _examine_round_trip(at: Inspection, subject: Subject, user: str, found: Findings) -> None:
    exchange = topology.JOBS if subject.role is Role.CLIENT else topology.DATA
    with contextlib.suppress(AccessRefused):
        # Among the rights where it is refused.
        seconds = at.bounce(exchange, f"{user}.{user}.doctor")
        found.ok("round trip", f"a message came back from the broker in {seconds * 1000:.1f} ms")
        return
    found.leave("round trip", f"{user} may not publish")


def _examine_clock(at: Inspection, subject: Subject, found: Findings) -> None:
    if subject.role is Role.PARTY:
        found.leave(
            "clock",
            "the broker tells its time only who may declare a queue, and a party may not; run `fedbus doctor` on this"
            " machine as a client, or compare `date -u` with the broker's administrator",
        )
        return
    try:
        examine_clocks(at.clocks(), found)
    except AccessRefused as error:
        found.leave("clock", f"the broker's time cannot be asked for: {error}")


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
