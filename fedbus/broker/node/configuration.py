"""What a private node reads when it starts: rabbitmq.conf, its plugins, and the variables of its scripts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fedbus.broker.base import MAX_MESSAGE_BYTES
from fedbus.broker.node.server import HOST, tool_environment
from fedbus.certificates.listener import PLUGIN, listener

NAME = "fedbus@localhost"
_ON_LOOPBACK = "-kernel inet_dist_use_interface {127,0,0,1}"
# Erlang's threads spin before they sleep: beside other work on all cores rabbitmqctl takes ten times as long by that.
_WITHOUT_SPINNING = "+sbwt none +sbwtdcpu none +sbwtdio none"


def configuration(folder: Path, port: int, certificates: Path | None) -> list[str]:
    """The lines of rabbitmq.conf of a node that works in a folder and listens on a port of 127.0.0.1.

    Args:
        certificates: the server's, where connections are to be TLS only; None for plain ones only.
    """
    address = f"{HOST}:{port}"
    if certificates is None:
        listens = [f"listeners.tcp.1 = {address}"]
    else:
        listens = ["listeners.tcp = none", *listener(certificates, address)]
    return [
        *listens,
        f"load_definitions = {folder / 'definitions.json'}",
        "log.console = false",
        "log.file = rabbit.log",
        "log.file.level = info",
        # A node for a test must not stop publishers on a machine whose disk is nearly full.
        "disk_free_limit.absolute = 16MB",
        "vm_memory_high_watermark.absolute = 1GB",
        "raft.wal_max_size_bytes = 33554432",
        f"max_message_size = {MAX_MESSAGE_BYTES}",
    ]


def enabled_plugins(certificates: Path | None) -> str:
    """The file of that name: logins by certificate are a plugin's."""
    return "[].\n" if certificates is None else f"[{PLUGIN}].\n"


def environment(server: Path, folder: Path, ports: Sequence[int]) -> dict[str, str]:
    """What the server and its tools find in their environment; nothing else of this process's reaches them.

    Args:
        ports: of AMQP, of Erlang's distribution, and of epmd.
    """
    _, distribution, epmd = ports
    return {
        **tool_environment(server),
        "HOME": str(folder / "home"),
        "ERL_EPMD_PORT": str(epmd),
        "ERL_EPMD_ADDRESS": HOST,
        "RABBITMQ_NODENAME": NAME,
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_CONF_ENV_FILE": os.devnull,
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "server.pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ON_LOOPBACK,
        "RABBITMQ_CTL_ERL_ARGS": f"{_ON_LOOPBACK} {_WITHOUT_SPINNING}",
    }
