"""The environment's variables, which win over a settings file. This and fedbus/settings.py alone read them.

FEDBUS_AMQP_URL          the broker's URL, with user and password
FEDBUS_AMQP_URL_FILE     a file that holds it, as secret stores hand it over
FEDBUS_AMQP_CA           for amqps: the file of certificates that the broker's is of
FEDBUS_AMQP_CERTIFICATE  this participant's certificate, by which it logs in where the URL has no password
FEDBUS_AMQP_KEY          its private key
FEDBUS_STATE             the file of a participant's store
FEDBUS_IDENTITY          the file of a participant's or client's private key, made by `fedbus identity`
FEDBUS_ROSTER            the file with the public keys of all members, made by `fedbus roster`
FEDBUS_METRICS_ADDRESS   address of the /metrics page: host:port, or its port alone
FEDBUS_PROCESSES         child processes for arithmetic; 0 computes in the process itself
FEDBUS_TIER              "portable" or "native" arithmetic; the faster that the machine has where it is not set
FEDBUS_VERIFY_SENDER     "false" where all participants share one user of the broker
FEDBUS_SIMULATION        "true" where all parties are one operator's: a party file that does not say
                         policy.insecure_for_tests then allows it, and errors tell all that they say
FEDBUS_LOG               level of the log: debug, info, warning or error; add ",json" for JSON lines
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from fedbus.certificates.files import NamedFile, TlsFiles
from fedbus.errors import ConfigError
from fedbus.files import real
from fedbus.schema import read_text

# As [broker] of a settings file has them.
TLS_KEYS = ("ca", "certificate", "key")
# What is no member's own.
_OF_A_MACHINE = ("FEDBUS_LOG", "FEDBUS_TIER", "FEDBUS_PROCESSES")
_TLS_VARIABLES = tuple(f"FEDBUS_AMQP_{key.upper()}" for key in TLS_KEYS)


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


def url_file(environment: Mapping[str, str] | None = None) -> Path | None:
    """Return the file from which the broker's URL comes; None where it comes from elsewhere."""
    environment = os.environ if environment is None else environment
    file = environment.get("FEDBUS_AMQP_URL_FILE", "")
    return Path(file) if file and not environment.get("FEDBUS_AMQP_URL") else None


def tls_file(key: str, environment: Mapping[str, str] | None = None) -> NamedFile | None:
    """A file for TLS that FEDBUS_AMQP_CA, FEDBUS_AMQP_CERTIFICATE or FEDBUS_AMQP_KEY names, None where it names none.

    Args:
        key: "ca", "certificate" or "key".
    """
    environment = os.environ if environment is None else environment
    variable = _TLS_VARIABLES[TLS_KEYS.index(key)]
    file = environment.get(variable, "")
    return NamedFile(real(Path(file)), variable) if file else None


def broker_tls(environment: Mapping[str, str] | None = None) -> TlsFiles:
    """The files of certificates for the connection to the broker that the environment names."""
    return TlsFiles(*(tls_file(key, environment) for key in TLS_KEYS))


def with_broker(url: str, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for who is to use this broker: files for TLS stay only where its URL is for TLS."""
    environment = os.environ if environment is None else environment
    kept = {
        name: value for name, value in environment.items() if url.startswith("amqps:") or name not in _TLS_VARIABLES
    }
    return {**kept, "FEDBUS_AMQP_URL": url}


def of_member(url_file: Path, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a process of a member whose login is in a file, and whose settings say all else."""
    environment = os.environ if environment is None else environment
    kept = {name: value for name, value in environment.items() if name[:7] != "FEDBUS_" or name in _OF_A_MACHINE}
    return {**kept, "FEDBUS_AMQP_URL_FILE": str(url_file)}


def check_url(url: str, source: str) -> str:
    """The URL if it is one of an AMQP broker.

    Raises:
        ConfigError: names the source, not the URL.
    """
    if fault := url_fault(url):
        raise ConfigError(f"{source}: {fault}")
    return url


def key_files(environment: Mapping[str, str] | None = None) -> tuple[Path | None, Path | None]:
    """The files of a client's identity and of its roster, as FEDBUS_IDENTITY and FEDBUS_ROSTER name them."""
    environment = os.environ if environment is None else environment
    identity, roster = environment.get("FEDBUS_IDENTITY"), environment.get("FEDBUS_ROSTER")
    return Path(identity) if identity else None, Path(roster) if roster else None


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


def url_fault(url: str) -> str:
    """What is wrong with a broker's URL, without a part of it, which may be of a password; "" where nothing is."""
    scheme, found, rest = url.partition("://")
    if any(character.isspace() or not character.isprintable() for character in url):
        return "a broker URL is one line without blanks; a blank in a password is written %20"
    # After the first of these comes no user and no password any more, for whoever reads the URL.
    user, at, _ = rest.rpartition("@")
    if at and any(character in user for character in "@/?#"):
        return (
            "a character of the user or password has to be percent-encoded: "
            "%40 for @, %2F for /, %3F for ?, %23 for #, %3A for :, %25 for %"
        )
    try:
        parts = urlsplit(url)
        sound = bool(found and parts.hostname) and parts.port != 0 and not parts.fragment
    except ValueError:
        sound = False
    if scheme not in ("amqp", "amqps") or not sound:
        return "not a broker URL; one looks like amqp://user:password@host:5672/"
    if "ssl_options" in parse_qs(parts.query, keep_blank_values=True):
        # pika would take a way to verify nothing from there.
        return (
            "ssl_options is not taken from a URL; certificates are files that broker.ca, broker.certificate and"
            " broker.key name, or FEDBUS_AMQP_CA, FEDBUS_AMQP_CERTIFICATE and FEDBUS_AMQP_KEY"
        )
    return ""
