"""A process's settings: its TOML file with the environment over it, as frozen structures.

fedbus/environment.py names the variables.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from fedbus.certificates.files import NamedFile, TlsFiles
from fedbus.datasets import DatasetSettings
from fedbus.environment import TLS_KEYS, broker_url, check_url, tls_file, verify_sender
from fedbus.errors import ConfigError
from fedbus.files import real
from fedbus.members.entries import Role
from fedbus.names import Name
from fedbus.schema import check_table, convert, read_toml

# Keys that a party file has, and no coordinator file.
_OF_A_PARTY = ("datasets", "policy", "outputs")
# And the other way round.
_OF_A_COORDINATOR = ("parties", "operators")


class BrokerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the broker is.

    Attributes:
        url: Its address with user and password, as `amqp://bank:PASSWORD@broker.example:5672/`, or `amqps://` for TLS.
            It holds a secret and is better told by FEDBUS_AMQP_URL_FILE. Without user and password, as
            `amqps://broker.example/`, the certificate is the login.
        heartbeat: Seconds; a connection without a sign of life for two of them is made anew.
        verify_sender: Refuse a message whose publisher, as the broker knows it, is not the sender that it names. False
            is only for where all share one user of the broker: anybody may then be anybody.
        ca: For amqps, the PEM file of the authorities that the broker's certificate may be of; by default the system's.
        certificate: The PEM file of this participant's certificate; the broker takes its CN for the user's name.
        key: The PEM file of that certificate's private key, mode 0600 and without a passphrase.
        named: The settings that named these three, for errors; not a key of the file.
    """

    url: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""
    heartbeat: Annotated[int, Meta(ge=1, le=3600)] = 30
    verify_sender: bool = True
    named: dict[str, str] = msgspec.field(default={}, name="(named)")

    @property
    def tls(self) -> TlsFiles:
        """The three files with the settings that named them."""
        files = {key: getattr(self, key) for key in TLS_KEYS}
        return TlsFiles(
            **{key: NamedFile(Path(file), self.named.get(key, f"broker.{key}")) for key, file in files.items() if file}
        )


class MetricsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The page with the process's [metrics](metrics.md), `/metrics`.

    Attributes:
        address: `"host:port"`, `"[::1]:port"` or a port alone; port 0 takes any that is free. Where it is left out, it
            is 127.0.0.1:9464, or the next port that is free.
    """

    address: str | int = ""


class OutputSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a party that holds the label keeps of a job beside its model.

    Attributes:
        folder: A folder in which a file `JOB.csv` is written at the end of each job with held-out rows: id, label and
            score of each of them. It is sent to nobody. The folder is made, and a file in it tried, before a job
            begins.
    """

    folder: str = ""


class PartySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A party file says who a party is, which tables it offers to jobs, and what it consents to.

    Attributes:
        name: The party's name, in jobs and as its user at the broker.
        state: The file of its store (SQLite): its journal, its checkpoints, and its models or shares of models.
        identity: The file of its private key, which `fedbus identity` makes. Horizontal jobs outside a simulation need
            it, unless their aggregation is "plain".
        roster: The file with the public keys of all members of the federation; it is needed where `identity` is.
        datasets: NAME is what jobs call the table.
        processes: How many child processes do arithmetic; one a core where it is left out, and none with 0.
        simulation: Whether all parties are one operator's, as FEDBUS_SIMULATION says; not a key of the file.
        file, folder: The file itself, for messages, and its folder; no keys of it either. What is none has a name in
            brackets, which errors do not list.
    """

    name: Name
    state: str
    identity: str = ""
    roster: str = ""
    broker: BrokerSettings = BrokerSettings()
    metrics: MetricsSettings = MetricsSettings()
    datasets: dict[str, DatasetSettings] = {}
    policy: dict[str, Any] = {}
    outputs: OutputSettings = OutputSettings()
    processes: Annotated[int, Meta(ge=0, le=1024)] | None = None
    simulation: bool = msgspec.field(default=False, name="(simulation)")
    file: str = msgspec.field(default="party file", name="(file)")
    folder: str = msgspec.field(default=".", name="(folder)")

    def path(self, relative: str) -> Path:
        """A path of the file, which is relative to the file's own folder."""
        return Path(self.folder) / relative


class CoordinatorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A coordinator file says who the coordinator is and which parties it serves.

    Attributes:
        name: The coordinator's name, in jobs and as its user at the broker.
        state: The file of its store (SQLite): the ledger of jobs, its journal, and the private keys of running jobs.
        identity: The file of its private key, which `fedbus identity` makes.
        roster: The file with the public keys of all members of the federation.
        parties: The parties whose control queues it makes at its start, so that they can wait for jobs.
        operators: Users of the broker who see all jobs and may cancel any; everybody else only those that they
            submitted.
        processes: How many child processes do arithmetic; one a core where it is left out, and none with 0.
    """

    name: Name = "coordinator"
    state: str = "state/coordinator.db"
    identity: str = ""
    roster: str = ""
    broker: BrokerSettings = BrokerSettings()
    metrics: MetricsSettings = MetricsSettings()
    parties: tuple[Name, ...] = ()
    operators: tuple[str, ...] = ()
    processes: Annotated[int, Meta(ge=0, le=1024)] | None = None
    file: str = msgspec.field(default="coordinator file", name="(file)")
    folder: str = msgspec.field(default=".", name="(folder)")

    def path(self, relative: str) -> Path:
        """A path of the file, which is relative to the file's own folder."""
        return Path(self.folder) / relative


def load_party(path: Path, environment: Mapping[str, str] | None = None) -> PartySettings:
    """A party file with the environment over it.

    Raises:
        ConfigError: names the file and the key, or the variable.
    """
    environment = os.environ if environment is None else environment
    return _party(_merged(path, read_toml(path), environment), path, environment)


def party_of(fields: Mapping[str, Any], where: Path, environment: Mapping[str, str]) -> PartySettings:
    """The settings that a party file with these fields would give, with the environment over them.

    Args:
        fields: paths in them are relative to the current folder.
        where: what stands for the file in errors.

    Raises:
        ConfigError: names the key, or the variable.
    """
    fields = _merged(where, copy.deepcopy(dict(fields)), environment) | {"(folder)": str(Path.cwd())}
    return _party(fields, where, environment)


def _party(fields: dict[str, Any], path: Path, environment: Mapping[str, str]) -> PartySettings:
    if "algorithm" in fields:
        raise ConfigError(f"{path}: this is a job file; a party file has the keys name, state and [datasets.…]")
    if "simulation" in fields:
        raise ConfigError(f"{path}: unknown key 'simulation'; only the environment says so, by FEDBUS_SIMULATION")
    policy = _table(fields, "policy", str(path))
    fields["(file)"] = str(path)
    for dataset in _table(fields, "datasets", str(path)).values():
        if isinstance(dataset, dict):
            dataset["(given)"] = [key for key in dataset if key != "(given)"]
    fields["(simulation)"] = environment.get("FEDBUS_SIMULATION", "").lower() == "true"
    if fields["(simulation)"]:
        policy.setdefault("insecure_for_tests", True)
    return convert(fields, PartySettings, str(path))


def load_coordinator(path: Path | None, environment: Mapping[str, str] | None = None) -> CoordinatorSettings:
    """A coordinator file (None: defaults, in the current folder) with the environment over it.

    Raises:
        ConfigError: names the file and the key, or the variable.
    """
    environment = os.environ if environment is None else environment
    fields = _merged(path, read_toml(path) if path else {}, environment)
    if "algorithm" in fields:
        raise ConfigError(f"{path}: this is a job file; a coordinator file has the keys name, state and parties")
    if of_a_party := [key for key in _OF_A_PARTY if key in fields]:
        raise ConfigError(
            f"{path}: this is a party file, as its {of_a_party[0]!r} shows, which `fedbus-party` serves; a coordinator"
            " file has the keys name, state and parties"
        )
    return convert(fields, CoordinatorSettings, str(path or "environment"))


def load_member(
    path: Path, environment: Mapping[str, str] | None = None
) -> tuple[PartySettings | CoordinatorSettings, Role]:
    """A party file or a coordinator file, whichever it is, with the environment over it, and the role that it shows.

    Raises:
        ConfigError: names the file and the key, or the variable.
    """
    fields = read_toml(path)
    if any(key in fields for key in (*_OF_A_PARTY, "algorithm")):
        return load_party(path, environment), Role.PARTY
    if any(key in fields for key in _OF_A_COORDINATOR):
        return load_coordinator(path, environment), Role.COORDINATOR
    raise ConfigError(
        f'{path}: is it a party file or a coordinator file? The first has [datasets.…], the second parties = ["…"];'
        " a client's key file is named with --client NAME"
    )


def _merged(path: Path | None, fields: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    if "folder" in fields:
        raise ConfigError(f"{path}: unknown key 'folder'; paths are relative to the file")
    fields["(folder)"] = str(real(path).parent) if path else str(Path.cwd())
    broker, metrics = (_table(fields, key, str(path)) for key in ("broker", "metrics"))
    if url := broker_url(environment):
        broker["url"] = url
    elif isinstance(broker.get("url"), str) and broker["url"]:
        check_url(broker["url"], f"{path}: broker.url")
    broker["(named)"] = _name_tls_files(broker, fields["(folder)"], str(path), environment)
    for key in ("state", "identity", "roster"):
        if file := environment.get(f"FEDBUS_{key.upper()}"):
            fields[key] = str(real(Path(file)))
    if address := environment.get("FEDBUS_METRICS_ADDRESS"):
        metrics["address"] = address
    if environment.get("FEDBUS_VERIFY_SENDER"):
        broker["verify_sender"] = verify_sender(environment)
    if processes := environment.get("FEDBUS_PROCESSES"):
        if not (processes.isascii() and processes.isdigit() and len(processes) < 5):
            raise ConfigError("FEDBUS_PROCESSES: expected a whole number")
        fields["processes"] = int(processes)
    return fields


def _name_tls_files(broker: dict[str, Any], folder: str, where: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Which settings name the files for TLS; their paths in `broker` become absolute."""
    named = {}
    for key in TLS_KEYS:
        if given := tls_file(key, environment):
            broker[key], named[key] = str(given.path), given.setting
        elif environment.get("FEDBUS_SIMULATION", "").lower() == "true":
            # They are for the broker of the file's own URL, in whose place the simulation has one of its own.
            broker.pop(key, None)
        elif isinstance(broker.get(key), str) and broker[key]:
            broker[key], named[key] = str(Path(folder) / broker[key]), f"{where}: broker.{key}"
    return named


def _table(fields: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    """The table of a key, which is made where it is missing, for the environment to write into."""
    return check_table(fields.setdefault(key, {}), where, key)
