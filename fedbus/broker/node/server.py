"""A node needs three things of its machine, which are found here:
a RabbitMQ server, an environment for it, and ports.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from fedbus.errors import ConfigError
from fedbus.files import is_file, is_folder

HOST = "127.0.0.1"

# Below the range from which systems take the ports of outgoing connections, so that a restart finds its own free.
_PORTS = range(20_000, 32_000)
_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
_TLS_HANDSHAKE = b"\x16"  # RFC 8446, section 5.1
_SERVER = "rabbitmq-server"
_SYSTEM = Path("/usr/lib/rabbitmq/bin")
_IN_TREE = ("usr/lib/rabbitmq/bin", "sbin", "bin", "")


def find_server(environment: Mapping[str, str] | None = None) -> Path | None:
    """Find the rabbitmq-server to run; return None where there is none.

    In this order: FEDBUS_RABBITMQ (the executable, the folder of an unpacked server, or "none"), the system's packages,
    what ops/install unpacked into the cache folder, and rabbitmq-server on PATH.

    Raises:
        ConfigError: FEDBUS_RABBITMQ names nothing that can be run.
    """
    environment = os.environ if environment is None else environment
    if chosen := environment.get("FEDBUS_RABBITMQ"):
        return None if chosen == "none" else _chosen(Path(chosen))
    # The system's own in sbin is a wrapper that changes the user.
    for folder in (_SYSTEM, cache_folder(environment) / "rabbitmq" / _IN_TREE[0]):
        if os.access(folder / _SERVER, os.X_OK):
            return folder / _SERVER
    found = shutil.which(_SERVER, path=environment.get("PATH", os.defpath))
    return Path(found) if found else None


def cache_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Return the folder in which ops/install keeps what it unpacks:
    FEDBUS_CACHE, or `fedbus` in the user's cache folder.
    """
    environment = os.environ if environment is None else environment
    if own := environment.get("FEDBUS_CACHE"):
        return Path(own)
    if caches := environment.get("XDG_CACHE_HOME"):
        return Path(caches) / "fedbus"
    return Path(environment.get("HOME", "/nonexistent")) / ".cache" / "fedbus"


def tool_environment(server: Path) -> dict[str, str]:
    """Make PATH and library path for the server and its tools.
    Nothing else of this process's environment reaches them.
    """
    path = os.environ.get("PATH", os.defpath)
    environment = {"PATH": path, "LC_ALL": "C.UTF-8"}
    root = server.parents[4] if len(server.parents) > 4 else server.parent
    if os.access(root / "usr/lib/erlang/bin/erl", os.F_OK) and root != Path("/"):
        # Unpacked, not installed: its Erlang, and the libraries that the machine lacks, lie beside it.
        environment["PATH"] = f"{root / 'usr/bin'}:{root / 'usr/sbin'}:{path}"
        libraries = [str(folder) for parent in ("usr/lib", "lib") for folder in (root / parent).glob("*-linux-*")]
        environment["LD_LIBRARY_PATH"] = ":".join(libraries)
    else:
        environment["PATH"] = f"{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
    if temporary := os.environ.get("TMPDIR"):
        environment["TMPDIR"] = temporary
    return environment


def free_ports() -> list[int]:
    """Find three ports of 127.0.0.1 on which nobody listens: for AMQP, for Erlang's distribution, and for epmd."""
    found: list[int] = []
    while len(found) < 3:
        port = random.SystemRandom().choice(_PORTS)
        with suppress(OSError), socket.socket() as probe:
            probe.bind((HOST, port))
            if port not in found:
                found.append(port)
    return found


def is_free(port: int) -> bool:
    """Return whether nobody listens on a port of 127.0.0.1. Connections that end there do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def accepts(port: int, *, tls: bool = False) -> bool:
    """Whether a server answers the protocol header with its first method, Connection.Start, or a TLS hello."""
    with suppress(OSError), socket.create_connection((HOST, port), 1.0) as connection:
        connection.settimeout(5.0)
        if tls:
            return _greets(connection)
        connection.sendall(_PROTOCOL_HEADER)
        return connection.recv(1) == b"\x01"
    return False


def _greets(connection: socket.socket) -> bool:
    """Whether a server answers the client's TLS hello with its own. Nothing is said to it beyond that."""
    sent = ssl.MemoryBIO()
    hello = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(ssl.MemoryBIO(), sent, server_hostname=HOST)
    with suppress(ssl.SSLWantReadError):
        hello.do_handshake()
    connection.sendall(sent.read())
    return connection.recv(1) == _TLS_HANDSHAKE


def _chosen(path: Path) -> Path:
    try:
        candidates = [path / folder / _SERVER for folder in _IN_TREE] if is_folder(path) else [path]
        for candidate in candidates:
            if is_file(candidate) and os.access(candidate, os.X_OK):
                return candidate
    except OSError as error:
        raise ConfigError(f"FEDBUS_RABBITMQ: {path}: cannot be looked into: {error.strerror}") from error
    raise ConfigError(f"FEDBUS_RABBITMQ: {path}: no rabbitmq-server that can be run")
