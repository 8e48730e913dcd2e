"""A private RabbitMQ node, for tests, demo and simulation, has its own ports, users and folder,
and ends with its owner.

It listens on 127.0.0.1 only, needs no right, and leaves nothing behind: a supervisor (supervisor.py) kills the
server and its epmd when the process that started the node goes, also by kill -9.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from fedbus import topology
from fedbus.broker.node import supervisor
from fedbus.broker.node.accounts import amqp_url, new_password, write_private
from fedbus.broker.node.configuration import NAME, configuration, enabled_plugins, environment
from fedbus.broker.node.definitions import definitions, user_definitions
from fedbus.broker.node.server import HOST, accepts, find_server, free_ports, is_free
from fedbus.errors import BrokerError
from fedbus.files import exists, real

__all__ = ["Node", "definitions", "find_server"]

_REMEDY = (
    "run ops/install, or set FEDBUS_RABBITMQ to a rabbitmq-server, or FEDBUS_AMQP_URL to the URL of a running broker"
)


class Node:
    """A RabbitMQ node that belongs to this process alone.

    Args:
        directory: keeps its data, passwords and ports; a temporary folder, removed by `stop`, where absent.
        users: role (coordinator, party or client) by name; see fedbus.topology.permissions.
        loads: definitions that it loads in place of the topology and these users.
        port: where it listens for AMQP connections; a free one where absent.
        certificates: a folder with the server's certificate, as `fedbus tls` makes it. Connections are then TLS only,
            the client has to show a certificate of the same authority, and may log in by it.
        consumer_timeout_ms: how long the server waits for an acknowledgement before it closes the channel.
        heartbeat: seconds, the server's proposal.

    Attributes:
        pid: process id of the server, None when it does not run.
        port: where it listens for AMQP connections.
    """

    def __init__(
        self,
        directory: Path | None = None,
        users: Mapping[str, str] | None = None,
        *,
        loads: Mapping[str, Any] | None = None,
        port: int | None = None,
        certificates: Path | None = None,
        consumer_timeout_ms: int | None = None,
        heartbeat: int | None = None,
    ) -> None:
        self.users: dict[str, str] = dict(users or {"coordinator": "coordinator", "client": "client"})
        self.pid: int | None = None
        self._own = directory is None
        self._directory = Path(tempfile.mkdtemp(prefix="fedbus-node-")) if directory is None else real(directory)
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._loads = loads
        self._fixed_port = port
        self._certificates = None if certificates is None else real(certificates)
        self._consumer_timeout_ms = consumer_timeout_ms
        self._heartbeat = heartbeat
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._state: dict[str, Any] = self._load()

    @property
    def port(self) -> int:
        """The port where the node listens for AMQP connections; it is the same after a restart."""
        return int(self._state["ports"][0])

    @property
    def address(self) -> str:
        """Scheme, host and port, without a user: amqps where it has certificates."""
        return f"{'amqp' if self._certificates is None else 'amqps'}://{HOST}:{self.port}"

    def start(self, timeout: float = 60) -> None:
        """Start the node, or start it again with the same data, and wait until it accepts AMQP connections.

        Raises:
            BrokerError: no server is installed, or it did not come up; with the end of its log and what to do.
        """
        if self._supervisor is not None and self._status() is None:
            return
        server = find_server()
        if server is None:
            raise BrokerError(f"no RabbitMQ server on this machine: {_REMEDY}")
        if self._fixed_port is not None and not is_free(self._fixed_port):
            raise BrokerError(f"port {self._fixed_port} of {HOST} is in use; end what listens there, or take another")
        new = not exists(self._directory / "mnesia")
        for attempt in range(3):
            self._write_files()
            try:
                self._launch(server, time.monotonic() + timeout)
            except BrokerError:
                port_taken = self._status() == supervisor.EPMD_FAILED or "eaddrinuse" in self._log_tail(200)
                self._end()
                if not new or not port_taken or attempt == 2:
                    raise
                self._forget()
            else:
                return

    def stop(self) -> None:
        """End the node at once, and remove its folder where that was temporary. A second call does nothing."""
        self._end()
        if self._own:
            shutil.rmtree(self._directory, ignore_errors=True)

    def kill(self) -> None:
        """End the node by SIGKILL, as a crash would. `start` brings it back with the same data on the same port."""
        self._end()

    def join(self) -> None:
        """Wait until the server ends by itself; raise BrokerError with the end of its log."""
        if (supervisor := self._supervisor) is not None:
            supervisor.wait()
            raise BrokerError(f"the RabbitMQ node ended:\n{self._log_tail(15)}")

    def url(self, user: str) -> str:
        """Return the AMQP URL with which a user connects.

        Raises:
            BrokerError: no such user.
        """
        if user not in self.users:
            raise BrokerError(f"the node has no user {user}; it has {', '.join(self.users)}")
        return amqp_url(user, self._state["passwords"][user], self.address)

    def add_user(self, user: str, role: str) -> None:
        """Add a user to the running node, with its permissions and, for a party, its control queue.

        Raises:
            BrokerError: the node does not run.
            ValueError: an unknown role.
        """
        topology.permissions(user, role)
        self.users[user] = role
        self._write_files()
        everything = definitions(self.users, self._state["passwords"])
        own = {**everything, **user_definitions({user: role}, self._state["passwords"])}
        file = self._directory / "add_user.json"
        write_private(file, json.dumps(own))
        try:
            self.rabbitmqctl("import_definitions", str(file))
        finally:
            file.unlink()

    def rabbitmqctl(self, *arguments: str, timeout: float = 30) -> str:
        """Run rabbitmqctl on the node and return what it printed.

        Raises:
            BrokerError: no server is installed, it failed, or it took longer than the timeout (seconds).
        """
        server = find_server()
        if server is None:
            raise BrokerError(f"no RabbitMQ server on this machine: {_REMEDY}")
        command = [str(server.with_name("rabbitmqctl")), "--quiet", "--node", NAME, *arguments]
        try:
            done = subprocess.run(  # noqa: S603  # the server's own tool
                command,
                env=self._environment(server),
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BrokerError(f"rabbitmqctl {arguments[0]}: no answer in {timeout:g} s") from error
        if done.returncode != 0:
            raise BrokerError(f"rabbitmqctl {arguments[0]}: {done.stdout.strip()}")
        return done.stdout

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _launch(self, server: Path, end: float) -> None:
        environment = self._environment(server)
        epmd = shutil.which("epmd", path=environment["PATH"])
        if epmd is None:
            raise BrokerError(f"{server}: Erlang's epmd is not beside it nor on PATH: {_REMEDY}")
        (self._directory / "server.pid").unlink(missing_ok=True)
        remove = str(self._directory) if self._own else ""
        self._supervisor = subprocess.Popen(  # noqa: S603  # our own module
            [sys.executable, "-I", "-S", supervisor.__file__, str(os.getpid()), remove, epmd, str(server)],
            env=environment,
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        while not accepts(self.port, tls=self._certificates is not None):
            if self._supervisor.poll() is not None:
                raise BrokerError(f"the RabbitMQ node ended while it started:\n{self._log_tail(15)}\n{_REMEDY}")
            if time.monotonic() > end:
                raise BrokerError(f"the RabbitMQ node does not accept connections:\n{self._log_tail(15)}\n{_REMEDY}")
            time.sleep(0.05)
        self.pid = int((self._directory / "server.pid").read_text("ascii"))

    def _end(self) -> None:
        supervisor, self._supervisor, self.pid = self._supervisor, None, None
        if supervisor is None:
            return
        supervisor.terminate()
        with suppress(subprocess.TimeoutExpired):
            supervisor.wait(10)
        if supervisor.poll() is None:
            supervisor.kill()
            supervisor.wait()
        # Left only where the supervisor itself was killed.
        with suppress(OSError, ValueError):
            for group in (self._directory / "groups").read_text("ascii").split():
                os.killpg(int(group), signal.SIGKILL)

    def _status(self) -> int | None:
        return None if self._supervisor is None else self._supervisor.poll()

    def _forget(self) -> None:
        """Undo a first start that failed because another process took one of the ports in the meantime."""
        for folder in ("mnesia", "log"):
            shutil.rmtree(self._directory / folder, ignore_errors=True)
        (self._directory / "console.log").unlink(missing_ok=True)
        self._state["ports"] = self._ports()

    def _ports(self) -> list[int]:
        port, *others = free_ports()
        return [self._fixed_port or port, *others]

    def _load(self) -> dict[str, Any]:
        with suppress(FileNotFoundError):
            state: dict[str, Any] = json.loads((self._directory / "node.json").read_text("utf-8"))
            state["ports"][0] = self._fixed_port or state["ports"][0]
            return state
        return {"ports": self._ports(), "passwords": {}, "cookie": secrets.token_hex(16)}

    def _write_files(self) -> None:
        passwords = self._state["passwords"]
        for user in self.users:
            passwords.setdefault(user, new_password())
        folder = self._directory
        home = folder / "home"
        home.mkdir(mode=0o700, exist_ok=True)
        write_private(folder / "node.json", json.dumps(self._state))
        write_private(home / ".erlang.cookie", self._state["cookie"])
        loaded = definitions(self.users, passwords) if self._loads is None else self._loads
        write_private(folder / "definitions.json", json.dumps(loaded))
        write_private(folder / "enabled_plugins", enabled_plugins(self._certificates))
        write_private(folder / "advanced.config", "[].\n")
        lines = configuration(folder, self.port, self._certificates)
        if self._consumer_timeout_ms is not None:
            lines.append(f"consumer_timeout = {self._consumer_timeout_ms}")
        if self._heartbeat is not None:
            lines.append(f"heartbeat = {self._heartbeat}")
        write_private(folder / "rabbitmq.conf", "\n".join(lines) + "\n")

    def _environment(self, server: Path) -> dict[str, str]:
        return environment(server, self._directory, self._state["ports"])

    def _log_tail(self, lines: int) -> str:
        text = []
        for file in (self._directory / "console.log", self._directory / "log" / "rabbit.log"):
            with suppress(OSError):
                text += [line for line in file.read_text("utf-8", "replace").splitlines() if line.strip()]
        return "\n".join(text[-lines:])
