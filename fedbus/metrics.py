"""Every Prometheus metric of fedbus: names, labels and the page that serves them.

Names follow Prometheus' conventions: base units, `_seconds`, `_bytes`, and `_total` for counters.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable
from http.server import ThreadingHTTPServer
from wsgiref.simple_server import WSGIServer

from prometheus_client import Counter, Gauge, Histogram, start_http_server

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
resends = Counter("fedbus_resends_total", "Messages published again from the outbox at a peer's request.")
jobs = Gauge("fedbus_jobs", "Jobs in the ledger by state.", ("state",))
loss = Gauge("fedbus_loss", "Latest training loss of a job.", ("job",))
crypto_operations = Counter("fedbus_crypto_operations_total", "Big-integer operations.", ("operation",))
crypto_seconds = Counter("fedbus_crypto_seconds_total", "Processor time of big-integer operations.", ("operation",))


def count_jobs(counts: Iterable[tuple[str, int]]) -> None:
    """Show how many jobs the ledger has in each state."""
    for state, count in counts:
        jobs.labels(state).set(count)


class Server:
    """The page `/metrics` of this process.

    Args:
        address: "host:port"; port 0 takes any free one.

    Raises:
        OSError: the address cannot be bound.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        server: WSGIServer | ThreadingHTTPServer
        server, self._thread = start_http_server(int(port), addr=host)
        self._server = server
        self.url = f"http://{host}:{server.server_port}/metrics"

    def close(self) -> None:
        """Stop serving and free the port."""
        # The thread would look up only twice a second; a socket that is shut down wakes it.
        self._server.socket.shutdown(socket.SHUT_RDWR)
        self._server.shutdown()
        self._server.server_close()
        if self._thread is not threading.current_thread():
            self._thread.join()
