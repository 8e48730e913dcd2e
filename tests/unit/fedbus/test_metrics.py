"""The /metrics page: where it is served, and that slow or many clients cost the process nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator

import pytest

from fedbus import metrics
from fedbus.metrics import MAX_CONNECTIONS, Server, parse_address

WAIT = 20.0


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("", ("127.0.0.1", 9464)),
        ("9000", ("127.0.0.1", 9000)),
        (":9000", ("127.0.0.1", 9000)),
        ("0", ("127.0.0.1", 0)),
        ("0.0.0.0:9000", ("0.0.0.0", 9000)),  # noqa: S104  # parsed only
        ("localhost", ("localhost", 9464)),
        ("[::1]:9000", ("::1", 9000)),
        ("[::1]", ("::1", 9464)),
    ],
)
def test_an_address_has_several_forms(address: str, found: tuple[str, int]) -> None:
    assert parse_address(address) == found


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("::1", "IPv6 has brackets"),
        ("::1:9464", "IPv6 has brackets"),
        ("[::1", "looks like"),
        ("[::1]9464", "looks like"),
        ("localhost:http", "up to 65535"),
        ("localhost:-1", "up to 65535"),
        ("70000", "up to 65535"),
        ("localhost:٣", "up to 65535"),
    ],
)
def test_an_address_that_is_none(address: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Server(address)


def read(url: str) -> str:
    """The page."""
    with urllib.request.urlopen(url, timeout=WAIT) as page:  # noqa: S310  # our own
        return str(page.read().decode())


@contextlib.contextmanager
def serving(address: str) -> Iterator[Server]:
    server = Server(address)
    yield server
    server.close()


def test_ipv6_is_served() -> None:
    with serving("[::1]:0") as server:
        assert server.url.startswith("http://[::1]:")
        assert "fedbus_reconnections_total" in read(server.url)


def test_the_next_free_port_is_taken_unless_one_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(metrics, "PORT", port)
        with serving("") as server:
            found = int(server.url.split(":")[2].split("/")[0])
            assert port < found < port + metrics.PORTS
            assert "fedbus_reconnections_total" in read(server.url)
        with pytest.raises(OSError, match="in use"):
            Server(str(port))


def test_slow_clients_hold_no_more_than_their_share() -> None:
    before = threading.active_count()
    with serving("0") as server, contextlib.ExitStack() as stack:
        port = int(server.url.split(":")[2].split("/")[0])
        slow = []
        for _ in range(256):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), WAIT))
            client.sendall(b"GET /metr")
            slow.append(client)
        assert "fedbus_reconnections_total" in read(server.url)
        # The first have been sent away: what they read ends, and so do their threads.
        assert all(client.recv(1) == b"" for client in slow[: 256 - MAX_CONNECTIONS])
        end = time.monotonic() + WAIT
        while threading.active_count() > before + 1 + MAX_CONNECTIONS:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_client_that_takes_its_time_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "REQUEST_SECONDS", 0.0)
    with serving("0") as server:
        port = int(server.url.split(":")[2].split("/")[0])
        with socket.create_connection(("127.0.0.1", port), WAIT) as client:
            client.sendall(b"GET /metr")
            assert client.recv(1) == b""
