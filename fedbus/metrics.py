"""Every Prometheus metric of fedbus: names, labels and the page that serves them.

Names follow Prometheus' conventions: base units, `_seconds`, `_bytes`, and `_total` for counters.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import socketserver
import threading
import time
from collections.abc import Iterable
from http.server import ThreadingHTTPServer
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.exposition import MetricsHandler

_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)

round_latency = Histogram(
    "fedbus_round_latency_seconds",
    "Time of one phase of one round.",
    ("algorithm", "role", "phase"),
    buckets=_LATENCY_BUCKETS,
)
messages = Counter("fedbus_messages_total", "Messages sent and received.", ("kind", "direction"))
message_bytes = Counter("fedbus_message_bytes_total", "Bytes of messages sent and received.", ("kind", "direction"))
publish_confirm = Histogram(
    "fedbus_publish_confirm_seconds", "From publishing a message to the broker's confirm.", buckets=_LATENCY_BUCKETS
)
retries = Counter("fedbus_retries_total", "Operations tried again after an error that may pass.", ("operation",))
reconnections = Counter("fedbus_reconnections_total", "Connections to the broker made again after a loss.")
redeliveries = Counter("fedbus_redeliveries_total", "Messages that the broker delivered again.")
duplicates = Counter("fedbus_duplicates_dropped_total", "Messages dropped because they were in the inbox already.")
dead_letters = Counter("fedbus_dead_letters_total", "Messages sent to the dead-letter exchange.")
refused = Counter("fedbus_refused_total", "Messages refused, by the reason.", ("reason",))
resends = Counter("fedbus_resends_total", "Messages published again from the outbox at a peer's request.")
jobs = Gauge("fedbus_jobs", "Jobs in the ledger by state.", ("state",))
loss = Gauge(
    "fedbus_loss", "Latest loss of a job: of training, or on held-out rows where privacy keeps that back.", ("job",)
)
crypto_operations = Counter("fedbus_crypto_operations_total", "Big-integer operations.", ("operation",))
crypto_seconds = Counter("fedbus_crypto_seconds_total", "Processor time of big-integer operations.", ("operation",))

# What each label tells.
LABELS = {
    "algorithm": "the algorithm of the job, as its file names it",
    "role": "what the process is in the job: `coordinator`, and `guest`, `host` or `party`",
    "phase": "the part of a round. `round` is a whole round of training. In federated averaging the coordinator also "
    "has `overhead`, which is what is left of a round without the slowest party's computation, the tasks `mean`, "
    "`variance`, `train` and `evaluate`, and with masks `reveal` and `unmask`; a party has the tasks, which are its "
    "own computation, and `hide`, which is encoding an update, masking or encrypting it, and handing it over. Other "
    "algorithms have steps of theirs",
    "kind": "the kind of the message",
    "direction": "`sent` or `received`",
    "operation": "what was done",
    "state": "the state of the jobs",
    "job": "the job's id",
}


def count_jobs(counts: Iterable[tuple[str, int]]) -> None:
    """Show how many jobs the ledger has in each state."""
    for state, count in counts:
        jobs.labels(state).set(count)


HOST = "127.0.0.1"
PORT = 9464
# Participants of one machine, each with the next free port where none was chosen.
PORTS = 100
# A scrape takes a few milliseconds: more than this at a time are no monitoring.
MAX_CONNECTIONS = 16
REQUEST_SECONDS = 10.0
_POLL_SECONDS = 0.5


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of "host:port", "[::1]:port", "port" or "host"; PORT and HOST where one is left out.

    Raises:
        ValueError: none of these.
    """
    if address.isdecimal():
        host, port = "", address
    elif address.startswith("["):
        host, bracket, port = address[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError("an address of IPv6 looks like [::1]:9464")
        port = port[1:]
    elif address.count(":") > 1:
        raise ValueError("an address of IPv6 has brackets, as in [::1]:9464")
    else:
        host, _, port = address.partition(":")
    if port and not (port.isascii() and port.isdecimal() and int(port) <= 65_535):
        raise ValueError("a port is a number up to 65535")
    return host or HOST, int(port) if port else PORT


class _Handler(MetricsHandler):
    # Between two bytes of a request; the whole of it is bounded by the page.
    timeout = REQUEST_SECONDS


class _Page(ThreadingHTTPServer):
    """Serves each connection in a thread, of which there are MAX_CONNECTIONS, for REQUEST_SECONDS at most."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, family: socket.AddressFamily, place: tuple[Any, ...]) -> None:
        self.address_family = family
        self._since: dict[socket.socket, float] = {}
        self._counting = threading.Lock()
        super().__init__(place, _Handler)

    def server_bind(self) -> None:
        # Not HTTPServer's, which asks the name service for a name that nobody needs.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._counting:
            if len(self._since) >= MAX_CONNECTIONS:
                # Whoever has been at it longest is the slowest; the one who comes may be the monitoring.
                self._end(next(iter(self._since)))
            self._since[request] = time.monotonic()
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        overdue = time.monotonic() - REQUEST_SECONDS
        with self._counting:
            for request in [request for request, since in self._since.items() if since < overdue]:
                self._end(request)

    def shutdown_request(self, request: Any) -> None:
        with self._counting:
            self._since.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that goes away, or is sent away, is no trouble of this process."""

    def _end(self, request: socket.socket) -> None:
        del self._since[request]
        # Its thread, which waits for it, reads the end and closes it.
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)


class Server:
    """The page `/metrics` of this process.

    Args:
        address: as `parse_address` reads it, port 0 for any free one; "" for HOST and PORT, or the next port that is
            free.

    Raises:
        OSError: the address cannot be bound.
        ValueError: it is none.
    """

    def __init__(self, address: str) -> None:
        host, port = parse_address(address)
        ports = range(port, port + (1 if address else PORTS))
        self._server = _bind(host, ports)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._server.server_port}/metrics"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving and free the port."""
        # The thread would look up only twice a second; a socket that is shut down wakes it.
        self._server.socket.shutdown(socket.SHUT_RDWR)
        self._server.shutdown()
        self._server.server_close()
        if self._thread is not threading.current_thread():
            self._thread.join()


def _bind(host: str, ports: range) -> _Page:
    """The page at the first of these ports that is free."""
    for port in ports:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        try:
            return _Page(family, place)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or port == ports[-1]:
                raise
    raise ValueError("no port to choose from")
