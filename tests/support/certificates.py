"""Certificates for tests: a federation's folder, those of a stranger, and such as have ended."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

from fedbus.certificates.files import NamedFile, TlsFiles
from fedbus.certificates.folder import provide
from fedbus.certificates.listener import CA, CERTIFICATE, KEY

YEAR = datetime.timedelta(days=365)


def issue(
    folder: Path, *members: str, hosts: tuple[str, ...] = ("127.0.0.1",), ago: datetime.timedelta | None = None
) -> Path:
    """A folder as `fedbus tls` makes it, with certificates that last 30 days from `ago` before now."""
    now = datetime.datetime.now(datetime.UTC) - (ago or datetime.timedelta())
    provide(folder, hosts, members, days=30, renew_days=0, now=now)
    return folder


def expired(folder: Path, beside: Path, *members: str) -> Path:
    """As `issue`, by the authority of the folder `beside`, made so long ago that all but the authority has ended."""
    shutil.copytree(beside / "authority", folder / "authority")
    return issue(folder, *members, ago=YEAR)


def files(own: Path, ca: Path | None = None) -> TlsFiles:
    """Those in the folder of a member."""
    named = {"ca": (ca or own) / CA, "certificate": own / CERTIFICATE, "key": own / KEY}
    return TlsFiles(**{key: NamedFile(path, f"FEDBUS_AMQP_{key.upper()}") for key, path in named.items()})


def variables(own: Path, ca: Path | None = None) -> dict[str, str]:
    """The environment's variables that name them."""
    named = files(own, ca)
    return {file.setting: str(file.path) for file in (named.ca, named.certificate, named.key) if file is not None}
