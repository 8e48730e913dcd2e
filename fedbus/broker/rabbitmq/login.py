"""A connection logs in as somebody, by a password in the URL or by a certificate, whose files are read each time.

A certificate that was renewed serves the next connection; no process is started anew for it.
"""

from __future__ import annotations

import copy
import ssl
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import structlog
from pika import SSLOptions, URLParameters  # type: ignore[import-untyped]
from pika.credentials import ExternalCredentials  # type: ignore[import-untyped]

from fedbus.certificates.files import TlsFiles
from fedbus.environment import url_fault
from fedbus.errors import ConfigError

log = structlog.get_logger(__name__)

_WARN_DAYS = 30
_FORM = "broker URL: not of the form amqp[s]://user:password@host[:port][/vhost], special characters percent-encoded"


class Login:
    """What a participant's connections are made with.

    Args:
        url: amqp[s]://user:password@host[:port][/vhost]; without the password, and the user if one likes, where a
            certificate says who it is.
        files: for amqps; the server is verified by them, or by the system's authorities.

    Attributes:
        user: whom the broker takes it for.
        certified: whether it is the certificate that says so.
        host, port, vhost: of the broker.

    Raises:
        ConfigError: no AMQP URL, which is said without any part of it that may be of a password; a file is not what its
            setting says; or the two do not fit each other.
    """

    def __init__(self, url: str, files: TlsFiles) -> None:
        if fault := url_fault(url):
            raise ConfigError(f"broker URL: {fault}")
        self.files = files
        self._warned = False
        parts = urlsplit(url)
        if files and parts.scheme != "amqps":
            given = next(file for file in (files.ca, files.certificate, files.key) if file)
            raise ConfigError(
                f"{given}: is for TLS, and the broker URL begins with amqp://, which is without; write amqps://,"
                " and the broker's port for TLS"
            )
        name = files.check()
        self.certified = bool(name) and parts.password is None
        if parts.scheme == "amqps" and parts.username and parts.password is None and not name:
            raise ConfigError(
                "broker URL: has no password, and no certificate is set to log in by; set broker.certificate and"
                " broker.key, or FEDBUS_AMQP_CERTIFICATE and FEDBUS_AMQP_KEY, or write the password"
            )
        if self.certified:
            # pika takes no URL with a user and no password.
            bare = parts._replace(netloc=f"{quote(name, safe='')}:@{parts.netloc.rpartition('@')[2]}")
            url = urlunsplit(bare)
        try:
            self._parsed: Any = URLParameters(url)
        except (ValueError, TypeError):
            # The cause repeats parts of the URL: it must not be chained.
            raise ConfigError(_FORM) from None
        self.user: str = self._parsed.credentials.username
        self.host, self.port, self.vhost = self._parsed.host, self._parsed.port, self._parsed.virtual_host
        if self.certified:
            if parts.username and unquote(parts.username) != name:
                raise ConfigError(
                    f"{files.certificate}: is of {name!r}, and the broker URL of another user; name that user's"
                    " certificate, or leave the user out of the URL"
                )
            self._parsed.credentials = ExternalCredentials()

    @property
    def secure(self) -> bool:
        """Whether it is TLS."""
        return self._parsed.ssl_options is not None

    @property
    def place(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port}"

    def parameters(self, heartbeat: int, name: str) -> Any:
        """pika's parameters for one connection.

        Raises:
            ConfigError: a file of certificates is not there any more, or is something else by now.
            Untrusted: a certificate has expired.
        """
        parsed = copy.copy(self._parsed)
        parsed.heartbeat = heartbeat
        parsed.blocked_connection_timeout = None
        parsed.client_properties = {"connection_name": name, "product": "fedbus"}
        if self.secure:
            parsed.ssl_options = SSLOptions(self._context(), self.host)
        return parsed

    def _context(self) -> ssl.SSLContext:
        """TLS 1.2 or later; the server's certificate is verified and is of the host's name, whatever is set."""
        files = self.files
        files.check()
        files.check_dates()
        if not self._warned and (soon := files.ending(_WARN_DAYS)):
            self._warned = True
            log.warning("the certificate of this participant ends soon", certificate=soon)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        loading = files.ca
        try:
            if files.ca is None:
                context.load_default_certs(ssl.Purpose.SERVER_AUTH)
            else:
                context.load_verify_locations(files.ca.path)
            loading = files.certificate
            if files.certificate is not None and files.key is not None:
                context.load_cert_chain(files.certificate.path, files.key.path)
        except OSError as error:
            # An SSLError is one too: a key that is too short for the system's policy, or a file that changed meanwhile.
            reason = getattr(error, "reason", None) or error.strerror
            raise ConfigError(f"{loading}: OpenSSL does not take it: {reason}; have it made anew") from error
        return context
