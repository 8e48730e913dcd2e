"""Which files a participant's TLS connection takes, and what is in them; checked before a server is asked."""

from __future__ import annotations

import datetime
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from fedbus.certificates.authority import common_name
from fedbus.errors import ConfigError, Untrusted
from fedbus.files import reason

# A file of certificates is some kilobytes, of all that a system trusts a quarter of a megabyte.
_MAX_BYTES = 4 * 1024**2
_OTHERS = 0o077
_KEY_MARK = b"PRIVATE KEY-----"


@dataclass(frozen=True)
class NamedFile:
    """A file, and the setting that names it, for errors."""

    path: Path
    setting: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.path}"


@dataclass(frozen=True)
class TlsFiles:
    """What a connection proves itself by.

    Attributes:
        ca: certificates of the authorities that the broker's certificate may be of; None for those of the system.
        certificate: this participant's, by which the broker knows it; None where it shows none.
        key: of that certificate.
    """

    ca: NamedFile | None = None
    certificate: NamedFile | None = None
    key: NamedFile | None = None

    def __bool__(self) -> bool:
        return any((self.ca, self.certificate, self.key))

    def check(self) -> str:
        """Make sure that they are what they are named for; the name that the certificate is of, "" where there is none.

        Raises:
            ConfigError: a file is missing, is something else, may be read by others, or certificate and key are not of
                each other; names the setting, the file and the remedy.
        """
        if self.ca is not None:
            _certificates(self.ca)
        if self.certificate is None or self.key is None:
            for present, missing in ((self.certificate, "key"), (self.key, "certificate")):
                if present is not None:
                    raise ConfigError(f"{present}: needs its {missing}; name that file too, or neither")
            return ""
        own = _certificates(self.certificate)[0]
        _check_pair(self.certificate, own, self.key)
        if not (name := common_name(own)):
            raise ConfigError(
                f"{self.certificate}: is of nobody, it has no common name (CN); the broker takes that for the user's"
                " name: have a certificate made for this participant, as by `fedbus tls FOLDER --member NAME`"
            )
        return name

    def ending(self, days: int, now: datetime.datetime | None = None) -> str:
        """What to tell of a participant's own certificate that ends within so many days; "" where it does not."""
        now = datetime.datetime.now(datetime.UTC) if now is None else now
        if self.certificate is None:
            return ""
        end = _certificates(self.certificate)[0].not_valid_after_utc
        if end > now + datetime.timedelta(days=days):
            return ""
        return (
            f"{self.certificate}: ends at {_shown(end)}; the broker's administrator makes the next one by"
            " `fedbus tls FOLDER`, and it takes the place of the file while this process runs"
        )

    def check_dates(self, now: datetime.datetime | None = None) -> None:
        """Make sure that they are valid at this time.

        Raises:
            Untrusted: one has expired, or is not valid yet; names the setting, the file, the time and the remedy.
        """
        now = datetime.datetime.now(datetime.UTC) if now is None else now
        if self.certificate is not None:
            own = _certificates(self.certificate)[0]
            if fault := _fault_of_dates(own, now):
                raise Untrusted(
                    f"{self.certificate}: {fault}, so the broker does not accept it; get a new one from the broker's"
                    " administrator, who makes it by `fedbus tls FOLDER`, or mend this machine's clock"
                )
        if self.ca is not None:
            faults = [_fault_of_dates(each, now) for each in _certificates(self.ca)]
            if all(faults):
                raise Untrusted(
                    f"{self.ca}: {faults[0]}, so no broker can be trusted by it; get the new one from the broker's"
                    " administrator, or mend this machine's clock"
                )


def read_pem(file: NamedFile, *, secret: bool = False) -> bytes:
    """The bytes of a PEM file.

    Args:
        secret: whether only its owner may read it.

    Raises:
        ConfigError: no such file, it cannot be read, or others may read what is secret.
    """
    try:
        with file.path.open("rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            if secret and mode & _OTHERS:
                raise ConfigError(
                    f"{file}: a private key that others may read (mode {mode:04o}); chmod 600 {file.path}, and have a"
                    " new one made if somebody may have read it"
                )
            data = opened.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {reason(error, file.path)}") from error
    except ValueError:
        raise ConfigError(f"{file}: cannot be read: a path holds no byte of 0") from None
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{file}: is larger than {_MAX_BYTES // 1024**2} MiB; a file of certificates is not")
    return data


def _certificates(file: NamedFile) -> list[x509.Certificate]:
    data = read_pem(file)
    if _KEY_MARK in data:
        raise ConfigError(
            f"{file}: holds a private key; expected certificates alone, as in the files ca.pem and certificate.pem of"
            " `fedbus tls`"
        )
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise ConfigError(
            f"{file}: holds no certificate that can be read; expected a PEM file, which begins with"
            " -----BEGIN CERTIFICATE-----"
        ) from error


def _check_pair(certificate: NamedFile, own: x509.Certificate, key: NamedFile) -> None:
    data = read_pem(key, secret=True)
    try:
        public = load_pem_private_key(data, None).public_key()
    except TypeError:
        raise ConfigError(
            f"{key}: has a passphrase, which a service cannot type; write the key without one, mode 0600, as by"
            f" `openssl pkey -in {key.path} -out NEW`"
        ) from None
    except Exception:  # noqa: BLE001  # the library has several for this, and none may leave with the key in it
        public = None
    if public is None:
        raise ConfigError(
            f"{key}: holds no private key that can be read; expected a PEM file, as key.pem of `fedbus tls`"
        ) from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if public.public_bytes(*form) != own.public_key().public_bytes(*form):
        raise ConfigError(
            f"{key}: is not the key of the certificate in {certificate.path} ({certificate.setting}); name the two"
            " files that were made together"
        )


def _fault_of_dates(certificate: x509.Certificate, now: datetime.datetime) -> str:
    if now > certificate.not_valid_after_utc:
        return f"expired at {_shown(certificate.not_valid_after_utc)}"
    if now < certificate.not_valid_before_utc:
        return f"is not valid before {_shown(certificate.not_valid_before_utc)}"
    return ""


def _shown(time: datetime.datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
