"""For the broker's administrator: `broker-definitions`, its users and topology, and `broker`, a private node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from fedbus import environment, terminal
from fedbus.broker.node.accounts import write_urls
from fedbus.broker.node.definitions import definitions
from fedbus.broker.node.lock import locked
from fedbus.broker.node.node import Node
from fedbus.certificates.files import NamedFile, TlsFiles
from fedbus.certificates.listener import FILES
from fedbus.cli.app import app, example
from fedbus.errors import ConfigError
from fedbus.files import reason
from fedbus.names import NAME


@app.command(
    epilog=example(
        "fedbus broker-definitions --coordinator coordinator --party shop --party bank --client olga --urls urls "
        "> definitions.json"
    )
)
def broker_definitions(
    urls: Annotated[
        Path,
        typer.Option(
            help="Folder for a file NAME.url of each user, mode 0600, that its FEDBUS_AMQP_URL_FILE names. "
            "A user whose file is there keeps its password.",
            show_default=False,
        ),
    ],
    coordinator: Annotated[str | None, typer.Option(help="The coordinator's name.", show_default=False)] = None,
    parties: Annotated[
        list[str] | None, typer.Option("--party", help="A party's name; once for each.", show_default=False)
    ] = None,
    clients: Annotated[
        list[str] | None,
        typer.Option("--client", help="A user who submits, watches and cancels; once for each.", show_default=False),
    ] = None,
    address: Annotated[
        str, typer.Option(help="The broker as the users reach it: amqp://HOST:PORT, or amqps:// for TLS.")
    ] = "amqp://localhost:5672",
) -> None:
    """Print what RabbitMQ has to know of a federation: exchanges, queues, users and what each may do.

    Load it with `rabbitmqctl import_definitions FILE`, which leaves what else the broker has as it is. Passwords are
    random: the definitions hold salted hashes of them, the URL files hold them, and nothing prints them.
    """
    users = _users({"coordinator": [coordinator] if coordinator else [], "party": parties, "client": clients})
    parts = urlsplit(environment.check_url(address, "--address"))
    if "@" in parts.netloc or parts.path.strip("/") or parts.query or parts.fragment:
        raise ConfigError("--address: takes scheme, host and port only, as in amqps://broker.example:5671")
    passwords = write_urls(urls, users, address)
    terminal.write(json.dumps(definitions(users, passwords), indent=2) + "\n")
    terminal.tell(f"{urls}: the URL of each user: {', '.join(f'{user}.url' for user in users)}")


@app.command(epilog=example("fedbus broker node --definitions definitions.json"))
def broker(
    folder: Annotated[Path, typer.Argument(help="Keeps its data from one start to the next.", show_default=False)],
    definitions_file: Annotated[
        Path,
        typer.Option("--definitions", help="What `fedbus broker-definitions` printed.", show_default=False),
    ],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of 127.0.0.1, where it listens.")] = 5672,
    certificates: Annotated[
        Path | None,
        typer.Option(
            help="The folder `broker` that `fedbus tls` made: connections are then TLS alone, by certificates on both"
            " sides.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run the RabbitMQ that `ops/install` unpacked, or the system's, in the foreground: for trials on one machine.

    It needs no right, listens on 127.0.0.1 only, loads the definitions at each start, and ends on SIGTERM or Ctrl-C.
    """
    loads = read_definitions(definitions_file, "--definitions: ")
    if certificates is not None:
        own = {key: NamedFile(certificates / file, "--certificates") for key, file in FILES.items()}
        TlsFiles(**own).check()
    try:
        with locked(folder), Node(folder, loads=loads, port=port, certificates=certificates) as node:
            terminal.say(f"RabbitMQ serves {node.address}; its log is {folder / 'log' / 'rabbit.log'}")
            node.join()
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be the broker's folder: {reason(error, folder)}") from error
    except KeyboardInterrupt:
        return


def read_definitions(file: Path, named: str = "") -> dict[str, Any]:
    """Read definitions for RabbitMQ; raise ConfigError where the file has none.

    Args:
        named: what named the file, for errors.
    """
    try:
        loaded = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{named}{file}: cannot be read: {reason(error, file)}") from error
    except ValueError as error:
        raise ConfigError(f"{named}{file}: is not JSON: {error}") from error
    if not isinstance(loaded, dict) or not isinstance(loaded.get("users"), list):
        raise ConfigError(f"{named}{file}: has no users; `fedbus broker-definitions` prints what is wanted")
    return loaded


def _users(named: dict[str, list[str] | None]) -> dict[str, str]:
    """Return roles by name; raise ConfigError for a name that is none, or that has two roles."""
    users: dict[str, str] = {}
    for role, names in named.items():
        for name in names or ():
            if not NAME.fullmatch(name):
                raise ConfigError(f"--{role} {name}: a name has small letters, digits, _ and -, 64 at most")
            if name in users:
                raise ConfigError(f"--{role} {name}: is named already, as a {users[name]}; each user has one role")
            users[name] = role
    if not users:
        raise ConfigError("name a user: --coordinator, --party or --client")
    return users
