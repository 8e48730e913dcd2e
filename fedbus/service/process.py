"""A long-running process has a broker, a store, child processes and a /metrics page around one service."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator, MutableMapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol, TextIO, TypeVar, cast

import structlog

from fedbus import environment, metrics, terminal
from fedbus.broker.base import Broker
from fedbus.broker.rabbitmq.broker import AmqpBroker
from fedbus.crypto.engine import Engine
from fedbus.errors import BrokerError, ConfigError, OutputError
from fedbus.files import exists, open_private
from fedbus.service import signals
from fedbus.settings import CoordinatorSettings, PartySettings
from fedbus.store.base import Store
from fedbus.store.sqlite import SqliteStore

S = TypeVar("S", CoordinatorSettings, PartySettings)


class LongRunning(Protocol):
    """What a process runs: a coordinator or a party."""

    def start(self) -> None: ...

    def stop(self) -> None:
        """Begin no more work, and give what runs runs.GRACE_SECONDS to come to rest."""

    def join(self) -> None:
        """Wait for what still runs, once arithmetic and broker are closed and cannot hold it."""


# A thread that computes lets the one that serves the connection run after this time, for which peers would wait.
_SWITCH_SECONDS = 0.0002

# Of malloc.h.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_LARGE_BYTES = 512 * 1024

Factory = Callable[[S, Broker, Store, Engine, str], LongRunning]


def configure_logging(default: str = "info") -> None:
    """Write log lines to standard error, as FEDBUS_LOG says, or from this level on where it says nothing."""
    level, as_json = environment.log_format(default=default)
    renderer = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            _shown,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, terminal.LogStream())),
    )
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s [%(levelname)s] %(name)s: %(message)s")
    # pika reports each lost connection as an error; the broker layer says what it means for the operator.
    logging.getLogger("pika").setLevel(logging.CRITICAL)


@contextlib.contextmanager
def kept_log(path: Path) -> Iterator[None]:
    """Write log lines to a file too, from "info" on; standard error has those that it has anyway."""
    before, was_configured = structlog.get_config(), structlog.is_configured()
    level = getattr(logging, environment.log_format(default="warning")[0].upper())
    with open_private(path, "a") as file:
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(min(level, logging.INFO)),
            logger_factory=lambda *_: _TwoLogs(file, level),
        )
        try:
            yield
        finally:
            if was_configured:
                structlog.configure(**before)
            else:
                # To configure it as it was would leave it configured, which others in this process heed.
                structlog.reset_defaults()


class _TwoLogs:
    """A logger of structlog that writes all lines to a file, and those of a level to standard error."""

    def __init__(self, file: TextIO, level: int) -> None:
        self._file, self._shown, self._level = file, terminal.LogStream(), level

    def __getattr__(self, name: str) -> Callable[[str], None]:
        shown = logging.getLevelNamesMapping().get(name.upper(), logging.CRITICAL) >= self._level

        def write(line: str) -> None:
            with contextlib.suppress(OSError):
                self._file.write(line + "\n")
                self._file.flush()
            if shown:
                self._shown.write(line + "\n")

        return write


def _shown(_: object, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return a log line's texts without what a terminal obeys: peers write reasons, which could forge lines."""
    for key, value in fields.items():
        if isinstance(value, str):
            fields[key] = terminal.printable(value)
    return fields


def run(config: S, factory: Factory[S], *, until_end_of_input: bool = False) -> None:
    """Run a service until SIGTERM, SIGINT or SIGHUP. Print one line when it is ready.

    Args:
        until_end_of_input: stop too when standard input ends, so that no process outlives the one that started it.

    Raises:
        ConfigError: no broker URL, or one of another user than the name.
        StoreError, BrokerError: they cannot be opened; BrokerError also where its thread ended by an error.
    """
    if not config.broker.url:
        raise ConfigError("broker.url: missing; set it in the file or in FEDBUS_AMQP_URL")
    sys.setswitchinterval(_SWITCH_SECONDS)
    _return_large_buffers()
    # A core file would hold private keys and rows, for whoever may read it.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.ExitStack() as stack:
        signals.end_on_signals(heed=(signal.SIGTERM, signal.SIGINT))
        # An operator who asks why a process hangs gets the answer in the log.
        faulthandler.register(signal.SIGUSR1)
        broken: Future[None] = Future()
        try:
            if until_end_of_input:
                threading.Thread(target=_terminate_at_end_of_input, daemon=True).start()
            url = _start(config, factory, stack, broken.set_exception)
            _say_serving(f"{config.name}: serving; metrics at {url}")
            broken.result()
        except KeyboardInterrupt:
            structlog.get_logger().info("stopping; unfinished jobs go on at the next start")
            signals.ignore_all()


def _say_serving(line: str) -> None:
    """Tell who started it that it serves. That nobody reads the line is no reason not to serve."""
    try:
        terminal.say(line)
    except OutputError as error:
        structlog.get_logger().warning("the line that it serves could not be written", line=line, reason=str(error))


def _start(config: S, factory: Factory[S], stack: contextlib.ExitStack, on_end: Callable[[BrokerError], None]) -> str:
    """Open all parts and start the service. Return the address of its /metrics."""
    store = stack.enter_context(SqliteStore(config.path(config.state)))
    try:
        page = metrics.Server(str(config.metrics.address))
    except (OSError, ValueError) as error:
        # The text of an OSError without its number.
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"metrics.address: {config.metrics.address!r} cannot be served: {reason}") from error
    stack.callback(page.close)
    engine = Engine(config.processes)
    at = config.broker
    broker = AmqpBroker(at.url, tls=at.tls, heartbeat=at.heartbeat, on_end=on_end)
    service = factory(config, broker, store, engine, page.url)
    for close in (service.join, engine.close, broker.close):
        stack.callback(close)
    if config.broker.verify_sender and broker.user != config.name:
        # Its queues would refuse it, and the others its messages.
        raise ConfigError(
            f"name: {config.name!r}, but the broker's URL, or the certificate in its place, is of user {broker.user!r};"
            " the two have to be the same (or broker.verify_sender = false at all participants, where they share one"
            " user)"
        )
    # For as long as it takes: a broker that is down, or has a wrong certificate, may be mended; a wrong password raises
    # at once.
    broker.connect(timeout=None)
    stack.callback(service.stop)
    service.start()
    return page.url


def _return_large_buffers() -> None:
    """Have the system get large buffers back as soon as they are freed.

    glibc keeps ever larger ones for itself otherwise, in a place of its own for each thread: half of what a network of
    a million parameters takes of a process. Source: mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_ARENA_MAX, 2)


def peak_memory() -> int:
    """Return how many bytes this process has had in memory at most."""
    # Not getrusage: a process inherits its maximum from the one that started it.
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM")


def _terminate_at_end_of_input() -> None:
    # Not through sys.stdin: its lock, held by a thread that waits, would abort the interpreter's end.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def script(name: str) -> list[str]:
    """Return the command line of one of the package's scripts, from the environment that this process runs in."""
    path = Path(sys.executable).with_name(name)
    return [str(path)] if exists(path) else [name]
