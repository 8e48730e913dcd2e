"""Who takes part in a trial, and where each file of its folder lies.

FOLDER/trial.toml                   who takes part, and where the broker listens
FOLDER/README.md                    what to do with it
FOLDER/broker/definitions.json      what the broker has to know; FOLDER/broker/node has its data
FOLDER/NAME/NAME.toml               of the coordinator and of each party: its own file
FOLDER/NAME/NAME.url, NAME.key      of each member: its login at the broker, and its identity
FOLDER/NAME/roster.toml             of each member: the public keys of all
FOLDER/CLIENT/CLIENT.sh             of a client: the variables that name these files, and job files beside it
FOLDER/certificates                 as `fedbus tls` makes them, where connections are TLS
FOLDER/logs/NAME.log                of each process
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from fedbus.certificates import folder as certificates
from fedbus.certificates.listener import FILES
from fedbus.errors import ConfigError
from fedbus.files import exists, real
from fedbus.identity import Role
from fedbus.names import NAME, Name
from fedbus.schema import convert, read_toml

TRIAL = "trial.toml"
BROKER, LOGS, CERTIFICATES = "broker", "logs", "certificates"
# Folders of the trial's own, beside those of its members.
_TAKEN = (BROKER, LOGS, CERTIFICATES)


class Cast(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who takes part in a trial, and how its broker is reached: what trial.toml says.

    Attributes:
        port: of 127.0.0.1, where the broker listens.
        tls: whether connections are TLS, with a certificate for each member.
    """

    coordinator: Name
    parties: tuple[Name, ...]
    clients: tuple[Name, ...]
    port: Annotated[int, Meta(ge=1, le=65535)]
    tls: bool = False

    @property
    def roles(self) -> dict[str, Role]:
        """Return the roles of all members by name: the coordinator, the parties, the clients."""
        return {
            self.coordinator: Role.COORDINATOR,
            **dict.fromkeys(self.parties, Role.PARTY),
            **dict.fromkeys(self.clients, Role.CLIENT),
        }

    @property
    def services(self) -> tuple[str, ...]:
        """Return the members that are processes: coordinator and parties."""
        return (self.coordinator, *self.parties)

    @property
    def address(self) -> str:
        """Return scheme, host and port of the broker."""
        return f"amqp{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    def check(self, named: dict[Role, str]) -> None:
        """Make sure that each member has a name of its own that can be its folder's.

        Args:
            named: what names members of each role, for errors.

        Raises:
            ConfigError: names the setting and the name.
        """
        seen: dict[str, Role] = {}
        members = [
            (Role.COORDINATOR, self.coordinator),
            *((Role.PARTY, name) for name in self.parties),
            *((Role.CLIENT, name) for name in self.clients),
        ]
        for role, name in members:
            if not NAME.fullmatch(name):
                raise ConfigError(f"{named[role]} {name}: a name has small letters, digits, _ and -, 64 at most")
            if name in seen:
                raise ConfigError(
                    f"{named[role]} {name}: is named already, as a {seen[name]}; each member has one role"
                )
            if name in _TAKEN:
                raise ConfigError(f"{named[role]} {name}: the trial has a folder of that name for itself; take another")
            seen[name] = role
        if not self.parties:
            raise ConfigError(f"{named[Role.PARTY]}: missing; name the parties, once for each")
        if not self.clients:
            raise ConfigError(f"{named[Role.CLIENT]}: missing; name who is to submit jobs")


class TrialFolder:
    """Where the files of a trial are.

    Attributes:
        folder: of the trial, without links.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = real(folder)

    def own(self, name: str, suffix: str) -> Path:
        """Return a member's file that bears its name: with .toml, .url, .key or .sh."""
        return self.folder / name / f"{name}{suffix}"

    def roster(self, name: str) -> Path:
        """Return the path of a member's roster."""
        return self.folder / name / "roster.toml"

    def log(self, name: str) -> Path:
        """Return the path of the log of a member's process."""
        return self.folder / LOGS / f"{name}.log"

    @property
    def definitions(self) -> Path:
        """Return the file that the broker loads when it starts."""
        return self.folder / BROKER / "definitions.json"

    @property
    def node(self) -> Path:
        """Return the folder in which the broker keeps its data."""
        return self.folder / BROKER / "node"

    @property
    def broker_certificates(self) -> Path:
        """Return the folder of the broker's certificate, where it has one."""
        return self.folder / CERTIFICATES / certificates.BROKER

    def tls_files(self, name: str) -> dict[str, Path]:
        """Return a member's files for TLS, by the keys of [broker] that name them."""
        own = self.folder / CERTIFICATES / certificates.MEMBERS / name
        return {key: own / file for key, file in FILES.items()}


def load(folder: Path) -> Cast:
    """Read who takes part in the trial of a folder.

    Raises:
        ConfigError: there is no trial in it, or its trial.toml is wrong.
    """
    path = folder / TRIAL
    try:
        there = exists(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if not there:
        raise ConfigError(f"{folder}: is no folder of a trial, it has no {TRIAL}; `fedbus new` makes one")
    cast = convert(read_toml(path), Cast, str(path))
    cast.check(
        {Role.COORDINATOR: f"{path}: coordinator:", Role.PARTY: f"{path}: parties:", Role.CLIENT: f"{path}: clients:"}
    )
    return cast
