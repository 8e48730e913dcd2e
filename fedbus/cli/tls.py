"""`fedbus tls`: the certificates of a federation's broker and members."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from fedbus import terminal
from fedbus.certificates.folder import AUTHORITY, AUTHORITY_DAYS, BROKER, MEMBERS, Entry, Provided, provide
from fedbus.certificates.listener import CA, CERTIFICATE, KEY, PLUGIN, listener
from fedbus.cli.app import app, example
from fedbus.errors import ConfigError
from fedbus.files import reason, write_whole
from fedbus.names import NAME

_HOST = re.compile(r"(?!-)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})*")
_LONGEST_HOST = 253
_CONFIGURATION = "rabbitmq.conf"


@app.command(
    epilog=example(
        "fedbus tls certificates --broker broker.example --member coordinator --member shop --member bank",
        "fedbus tls certificates",
    )
)
def tls(
    folder: Annotated[Path, typer.Argument(help="Holds the authority and what it issued.", show_default=False)],
    brokers: Annotated[
        list[str] | None,
        typer.Option(
            "--broker",
            help="A host name or an address at which members reach the broker; once for each. The first time it is"
            " needed; later it adds to those that the broker's certificate has.",
            show_default=False,
        ),
    ] = None,
    members: Annotated[
        list[str] | None,
        typer.Option(
            "--member",
            help="A participant's name, which is its user's at the broker: coordinator, party or client; once for each."
            " Those that the folder has need not be named again.",
            show_default=False,
        ),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=AUTHORITY_DAYS, help="How long a certificate is valid.")] = 397,
    renew: Annotated[
        int, typer.Option(min=0, max=AUTHORITY_DAYS, help="Renew what ends within so many days; its key stays.")
    ] = 60,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the broker is to listen for TLS.")] = 5671,
    broker_folder: Annotated[
        str, typer.Option(help="Where the broker's machine has its certificate.")
    ] = "/etc/rabbitmq/tls",
    keep_plaintext: Annotated[
        bool, typer.Option("--keep-plaintext", help="Leave the broker's port without TLS open too.")
    ] = False,
) -> None:
    """Make certificates for TLS between members and the broker, each side proving itself to the other.

    The first run makes an authority, which no later run replaces. Each run makes what is missing and renews what ends
    soon. A member's certificate is also its login: RabbitMQ takes the name in it for the user's.
    """
    hosts = [_host(each) for each in brokers or ()]
    for name in members or ():
        if not NAME.fullmatch(name):
            raise ConfigError(f"--member {name}: a name has small letters, digits, _ and -, 64 at most")
    if not PurePosixPath(broker_folder).is_absolute():
        raise ConfigError(f"--broker-folder {broker_folder}: write the whole path, as /etc/rabbitmq/tls")
    provided = provide(folder, hosts, members or (), days=days, renew_days=renew)
    file = folder / BROKER / _CONFIGURATION
    lines = listener(PurePosixPath(broker_folder), str(port))
    try:
        write_whole(file, "\n".join(lines if keep_plaintext else ["listeners.tcp = none", *lines]) + "\n")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {reason(error, file)}") from error
    _show(folder, provided, broker_folder, port)
    if max(entry.ends for entry in (provided.broker, *provided.members.values())) >= provided.authority.ends:
        terminal.note(
            f"certificates end with their authority, on {provided.authority.ends:%Y-%m-%d}; before that day make a new"
            " one in another folder, and give everybody new files"
        )


def _show(folder: Path, provided: Provided, broker_folder: str, port: int) -> None:
    """Print what there is, and what goes to whom."""
    rows = [["", "", "ends", ""]]
    rows.append([str(folder / AUTHORITY), *_told(provided.authority), "stays with you, offline where that is possible"])
    rows.append([str(folder / BROKER), *_told(provided.broker), f"to the broker: {', '.join(provided.hosts)}"])
    for name, entry in provided.members.items():
        rows.append([str(folder / MEMBERS / name), *_told(entry), f"to {name} alone"])
    for line in terminal.table(rows):
        terminal.say(line.rstrip())
    host = provided.hosts[0]
    for line in (
        "",
        f"Broker: copy the folder to {broker_folder}, readable by RabbitMQ's user alone, add the lines of"
        f" {_CONFIGURATION} to the broker's own, and `rabbitmq-plugins enable {PLUGIN}`.",
        "Members: each copies its folder beside its file, as tls, and writes into that file:",
        "",
        "[broker]",
        f'url = "amqps://{f"[{host}]" if ":" in host else host}:{port}/"',
        f'ca = "tls/{CA}"',
        f'certificate = "tls/{CERTIFICATE}"',
        f'key = "tls/{KEY}"',
        "",
        "Clients set FEDBUS_AMQP_URL, FEDBUS_AMQP_CA, FEDBUS_AMQP_CERTIFICATE and FEDBUS_AMQP_KEY to the same.",
    ):
        terminal.say(line)


def _told(entry: Entry) -> list[str]:
    return [entry.became, f"{entry.ends:%Y-%m-%d}"]


def _host(given: str) -> str:
    """Return a host as certificates name it; raise ConfigError where it is none."""
    bare = given.lower().removeprefix("[").removesuffix("]")
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    if len(bare) > _LONGEST_HOST or not _HOST.fullmatch(bare):
        raise ConfigError(
            f"--broker {given}: write a host name or an address alone, as broker.example or 10.0.0.5; the port is"
            " --port"
        )
    return bare
