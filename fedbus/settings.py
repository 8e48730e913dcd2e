"""A process's settings: its TOML file and the environment, as frozen structures. Nothing else reads the environment.

Environment variables win over the file:

    FEDBUS_AMQP_URL          the broker's URL, with user and password
    FEDBUS_AMQP_URL_FILE     a file that holds it, as secret stores hand it over
    FEDBUS_STATE             the file of a participant's store
    FEDBUS_IDENTITY          a party's private key file, made by `fedbus identity`
    FEDBUS_ROSTER            the file with the public keys of all parties
    FEDBUS_METRICS_ADDRESS   host:port of the /metrics page, or its port alone
    FEDBUS_PROCESSES         child processes for arithmetic; 0 computes in the process itself
    FEDBUS_TIER              "portable" or "native" arithmetic; the faster that the machine has where it is not set
    FEDBUS_VERIFY_SENDER     "false" where all participants share one user of the broker
    FEDBUS_SIMULATION        "true" where all parties are one operator's: a party file that does not say
                             policy.insecure_for_tests then allows it, and errors tell all that they say
    FEDBUS_LOG               debug, info, warning or error; add ",json" for JSON lines
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from fedbus.broker.accounts import url_fault
from fedbus.datasets import DatasetSettings
from fedbus.errors import ConfigError
from fedbus.jobs import Name
from fedbus.schema import check_table, convert, read_text, read_toml


class BrokerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the broker is.

    Attributes:
        heartbeat: seconds; a connection without a sign of life for two of them is made anew.
        verify_sender: refuse a message whose publisher, as the broker knows it, is not the sender that it names.
    """

    url: str = ""
    heartbeat: Annotated[int, Meta(ge=1, le=3600)] = 30
    verify_sender: bool = True


class MetricsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The /metrics page.

    Attributes:
        address: "host:port", "[::1]:port" or a port alone, port 0 for any free one; 127.0.0.1:9464, or the next port
            that is free, where it is left out.
    """

    address: str | int = ""


class OutputSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a party that holds the label keeps of a job beside its model.

    Attributes:
        folder: gets a file of predictions of held-out rows for each job; none where empty.
    """

    folder: str = ""


class PartySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A party file.

    Attributes:
        state: the SQLite file of its store: journal, checkpoints, models.
        processes: child processes for arithmetic; absent takes one a core.
        policy: what the party consents to; see parties/policy.py.
        outputs: what it keeps of jobs beside models.
        identity: the file of its private key, which `fedbus identity` makes; for federated averaging.
        roster: the file with the public keys of all parties of the federation.
        simulation: whether all parties are one operator's, as FEDBUS_SIMULATION says; not a key of the file.
        file, folder: the file itself, for messages, and its folder; no keys of it either.
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
    simulation: bool = False
    file: str = msgspec.field(default="party file", name="(file)")
    folder: str = "."

    def path(self, relative: str) -> Path:
        """A path of the file, which is relative to the file's own folder."""
        return Path(self.folder) / relative


class CoordinatorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A coordinator file.

    Attributes:
        parties: those whose control queues exist from the start, so that they can wait for jobs.
        operators: users of the broker who may cancel any job; everybody else only those that they submitted.
    """

    name: Name = "coordinator"
    state: str = "state/coordinator.db"
    broker: BrokerSettings = BrokerSettings()
    metrics: MetricsSettings = MetricsSettings()
    parties: tuple[Name, ...] = ()
    operators: tuple[str, ...] = ()
    processes: Annotated[int, Meta(ge=0, le=1024)] | None = None
    folder: str = "."

    def path(self, relative: str) -> Path:
        """A path of the file, which is relative to the file's own folder."""
        return Path(self.folder) / relative


def load_party(path: Path, environment: Mapping[str, str] | None = None) -> PartySettings:
    """A party file with the environment over it.

    Raises:
        ConfigError: names the file and the key, or the variable.
    """
    environment = os.environ if environment is None else environment
    fields = _merged(path, environment)
    if "algorithm" in fields:
        raise ConfigError(f"{path}: this is a job file; a party file has the keys name, state and [datasets.…]")
    for key in ("identity", "roster"):
        if file := environment.get(f"FEDBUS_{key.upper()}"):
            fields[key] = str(Path(file).resolve())
    if "simulation" in fields:
        raise ConfigError(f"{path}: unknown key 'simulation'; only the environment says so, by FEDBUS_SIMULATION")
    policy = _table(fields, "policy", str(path))
    fields["(file)"] = str(path)
    for dataset in _table(fields, "datasets", str(path)).values():
        if isinstance(dataset, dict):
            dataset["(given)"] = [key for key in dataset if key != "(given)"]
    fields["simulation"] = environment.get("FEDBUS_SIMULATION", "").lower() == "true"
    if fields["simulation"]:
        policy.setdefault("insecure_for_tests", True)
    return convert(fields, PartySettings, str(path))


def load_coordinator(path: Path | None, environment: Mapping[str, str] | None = None) -> CoordinatorSettings:
    """A coordinator file (None: defaults, in the current folder) with the environment over it.

    Raises:
        ConfigError: names the file and the key, or the variable.
    """
    environment = os.environ if environment is None else environment
    return convert(_merged(path, environment), CoordinatorSettings, str(path or "environment"))


def verify_sender(environment: Mapping[str, str] | None = None) -> bool:
    """Whether a message must be published by the user whose name it bears: unless FEDBUS_VERIFY_SENDER says "false"."""
    environment = os.environ if environment is None else environment
    return environment.get("FEDBUS_VERIFY_SENDER", "").lower() != "false"


def broker_url(environment: Mapping[str, str] | None = None) -> str:
    """The broker's URL from the environment, "" where it says none.

    Raises:
        ConfigError: not an AMQP URL, or the file cannot be read. The URL itself is not repeated: it holds a password.
    """
    environment = os.environ if environment is None else environment
    url, source = environment.get("FEDBUS_AMQP_URL", ""), "FEDBUS_AMQP_URL"
    file = environment.get("FEDBUS_AMQP_URL_FILE", "")
    if not url and file:
        source = f"FEDBUS_AMQP_URL_FILE: {file}"
        try:
            url = read_text(Path(file)).strip()
        except ConfigError as error:
            raise ConfigError(f"FEDBUS_AMQP_URL_FILE: {error}") from None
    return check_url(url, source) if url else ""


def check_url(url: str, source: str) -> str:
    """The URL if it is one of an AMQP broker.

    Raises:
        ConfigError: names the source, not the URL.
    """
    if fault := url_fault(url):
        raise ConfigError(f"{source}: {fault}")
    return url


def log_format(environment: Mapping[str, str] | None = None, default: str = "info") -> tuple[str, bool]:
    """Level and whether lines are JSON, from FEDBUS_LOG.

    Raises:
        ConfigError: an unknown level.
    """
    environment = os.environ if environment is None else environment
    level, _, form = environment.get("FEDBUS_LOG", default).partition(",")
    if level not in ("debug", "info", "warning", "error") or form not in ("", "json"):
        raise ConfigError("FEDBUS_LOG: expected debug, info, warning or error, with ',json' for JSON lines")
    return level, form == "json"


def tier(environment: Mapping[str, str] | None = None) -> str:
    """The arithmetic that FEDBUS_TIER asks for, "" where it asks for none."""
    environment = os.environ if environment is None else environment
    return environment.get("FEDBUS_TIER", "").strip().lower()


def _merged(path: Path | None, environment: Mapping[str, str]) -> dict[str, Any]:
    fields = read_toml(path) if path else {}
    if "folder" in fields:
        raise ConfigError(f"{path}: unknown key 'folder'; paths are relative to the file")
    fields["folder"] = str(path.resolve().parent) if path else str(Path.cwd())
    broker, metrics = (_table(fields, key, str(path)) for key in ("broker", "metrics"))
    if url := broker_url(environment):
        broker["url"] = url
    elif isinstance(broker.get("url"), str) and broker["url"]:
        check_url(broker["url"], f"{path}: broker.url")
    if state := environment.get("FEDBUS_STATE"):
        fields["state"] = str(Path(state).resolve())
    if address := environment.get("FEDBUS_METRICS_ADDRESS"):
        metrics["address"] = address
    if environment.get("FEDBUS_VERIFY_SENDER"):
        broker["verify_sender"] = verify_sender(environment)
    if processes := environment.get("FEDBUS_PROCESSES"):
        if not (processes.isascii() and processes.isdigit() and len(processes) < 5):
            raise ConfigError("FEDBUS_PROCESSES: expected a whole number")
        fields["processes"] = int(processes)
    return fields


def _table(fields: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    """The table of a key, which is made where it is missing, for the environment to write into."""
    return check_table(fields.setdefault(key, {}), where, key)
