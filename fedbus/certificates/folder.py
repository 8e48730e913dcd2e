"""The folder of a federation's certificates: made, completed and renewed, and never written over where it matters.

FOLDER/authority/      ca.pem, and ca.key, which signs: whoever has it can make himself anybody
FOLDER/broker/         ca.pem, certificate.pem and key.pem of the broker, and the lines for its rabbitmq.conf
FOLDER/members/NAME/   ca.pem, certificate.pem and key.pem of one member
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from fedbus.certificates import authority as issuing
from fedbus.certificates.authority import CertifiedKey, Key
from fedbus.certificates.files import NamedFile, read_pem
from fedbus.certificates.listener import CA, CERTIFICATE, KEY
from fedbus.errors import ConfigError
from fedbus.files import exists, is_folder, reason, write_whole
from fedbus.names import NAME

AUTHORITY, BROKER, MEMBERS = "authority", "broker", "members"
_CA_KEY = "ca.key"
AUTHORITY_DAYS = 3650
_SECRET, _PUBLIC = 0o600, 0o644

Issue = Callable[[Key], CertifiedKey]
Fits = Callable[[x509.Certificate], bool]


@dataclass(frozen=True)
class Entry:
    """What became of one certificate.

    Attributes:
        became: "made", "renewed" with the key that was there, or "kept".
        ends: when it does.
    """

    became: str
    ends: datetime.datetime


@dataclass(frozen=True)
class Provided:
    """What a folder holds now.

    Attributes:
        authority: made or kept, it is never renewed.
        hosts: what the broker's certificate is for.
        members: by name.
    """

    authority: Entry
    broker: Entry
    hosts: list[str]
    members: dict[str, Entry]


def provide(
    folder: Path,
    hosts: Sequence[str],
    members: Sequence[str],
    *,
    days: int,
    renew_days: int,
    now: datetime.datetime | None = None,
) -> Provided:
    """Make what is missing in a folder, and renew what ends soon; keys and authorities that are there stay.

    Args:
        hosts: names and addresses at which the broker is reached, beside those that its certificate has and 127.0.0.1.
        members: beside those that the folder has.
        days: for how long a certificate is valid, at most to the authority's own end.
        renew_days: one that ends within so many days is made anew.
        now: the time, the clock's where absent.

    Raises:
        ConfigError: a file is missing, is something else, may be read by others or cannot be written; the authority has
            ended; there is none beside certificates of one; or nobody has said where the broker is.
    """
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0) if now is None else now
    soon = now + datetime.timedelta(days=renew_days)
    try:
        all_hosts = _hosts(folder / BROKER, hosts)
        authority, became = _authority(folder, now)
        known = list((folder / MEMBERS).iterdir()) if is_folder(folder / MEMBERS) else []
        names = sorted({*members, *(each.name for each in known if is_folder(each) and NAME.fullmatch(each.name))})
        broker = _provide_one(
            folder / BROKER,
            authority,
            soon,
            issue=lambda key: issuing.issue_server(authority, key, all_hosts, days, now),
            fits=lambda old: set(issuing.hosts_of(old)) == set(all_hosts),
        )
        made = {}
        for name in names:
            made[name] = _provide_one(
                folder / MEMBERS / name,
                authority,
                soon,
                issue=lambda key, name=name: issuing.issue_member(authority, key, name, days, now),  # type: ignore[misc]
                fits=lambda old, name=name: issuing.common_name(old) == name,  # type: ignore[misc]
            )
    except OSError as error:
        place = Path(error.filename or folder)
        raise ConfigError(f"{place}: cannot be written or read: {reason(error, place)}") from error
    return Provided(Entry(became, authority.certificate.not_valid_after_utc), broker, all_hosts, made)


def _authority(folder: Path, now: datetime.datetime) -> tuple[CertifiedKey, str]:
    """The authority, and whether it was made or kept."""
    own, became = folder / AUTHORITY, "kept"
    if not exists(own / CA):
        if exists(folder / BROKER) or exists(folder / MEMBERS):
            # A new one would make all that the folder has worthless, and look the same.
            raise ConfigError(
                f"{own / CA}: is missing, and {folder} has certificates of it: put the folder {own} back from where it"
                " is kept, or name a new folder, for a new authority"
            )
        _make(own)
        # A run that was killed between the two files has left the key, and nobody has anything of it yet.
        key = _key(own / _CA_KEY) if exists(own / _CA_KEY) else issuing.new_key()
        made = issuing.new_authority("fedbus", key, AUTHORITY_DAYS, now)
        write_whole(own / _CA_KEY, issuing.key_pem(made.key), mode=_SECRET)
        write_whole(own / CA, issuing.certificate_pem(made.certificate), mode=_PUBLIC)
        became = "made"
    certificate, key = _certificate(own / CA), _key(own / _CA_KEY)
    if certificate.public_key() != key.public_key():
        raise ConfigError(f"{own / _CA_KEY}: is not the key of {own / CA}; put the two back that belong together")
    if now >= certificate.not_valid_after_utc:
        raise ConfigError(
            f"{own / CA}: ended at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; name a new folder, for a new"
            " authority, and give everybody new files"
        )
    return CertifiedKey(certificate, key), became


def _hosts(own: Path, hosts: Sequence[str]) -> list[str]:
    before = issuing.hosts_of(_certificate(own / CERTIFICATE)) if exists(own / CERTIFICATE) else []
    if not before and not hosts:
        raise ConfigError("--broker: missing; name the host, or the address, at which members reach the broker")
    # The broker's own administrator, and a tunnel, reach it there.
    return list(dict.fromkeys([*before, *hosts, "127.0.0.1"]))


def _provide_one(own: Path, authority: CertifiedKey, soon: datetime.datetime, *, issue: Issue, fits: Fits) -> Entry:
    """The certificate and key in one folder, made where there are none, renewed where it ends soon or does not fit."""
    _make(own)
    write_whole(own / CA, issuing.certificate_pem(authority.certificate), mode=_PUBLIC)
    if exists(own / KEY):
        key = _key(own / KEY)
    elif exists(own / CERTIFICATE):
        raise ConfigError(f"{own / KEY}: is missing; put it back, or remove {own / CERTIFICATE} for a new pair")
    else:
        key = issuing.new_key()
        write_whole(own / KEY, issuing.key_pem(key), mode=_SECRET)
    old = _certificate(own / CERTIFICATE) if exists(own / CERTIFICATE) else None
    if old is not None and old.public_key() != key.public_key():
        raise ConfigError(f"{own / KEY}: is not the key of {own / CERTIFICATE}; remove both for a new pair")
    if old is not None and not issuing.is_issued_by(old, authority.certificate):
        raise ConfigError(f"{own / CERTIFICATE}: is of another authority than {AUTHORITY}/{CA}; move {own} away")
    if (
        old is not None
        and fits(old)
        and (
            # What ends with the authority itself cannot be made to last longer.
            old.not_valid_after_utc > soon or old.not_valid_after_utc >= authority.certificate.not_valid_after_utc
        )
    ):
        return Entry("kept", old.not_valid_after_utc)
    new = issue(key).certificate
    write_whole(own / CERTIFICATE, issuing.certificate_pem(new), mode=_PUBLIC)
    return Entry("made" if old is None else "renewed", new.not_valid_after_utc)


def _make(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(read_pem(NamedFile(path, "certificate")))
    except ValueError as error:
        raise ConfigError(f"{path}: is no certificate; remove it for a new one, or put it back") from error


def _key(path: Path) -> Key:
    try:
        return issuing.read_key(read_pem(NamedFile(path, "key"), secret=True))
    except ValueError as error:
        raise ConfigError(f"{path}: is no key that `fedbus tls` made: {error}; put it back") from None
