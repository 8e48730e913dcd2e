"""The lines of RabbitMQ's configuration for connections with certificates on both sides."""

from __future__ import annotations

from pathlib import PurePath

CA, CERTIFICATE, KEY = "ca.pem", "certificate.pem", "key.pem"
# By the keys of [broker] that name them.
FILES = {"ca": CA, "certificate": CERTIFICATE, "key": KEY}

# What makes RabbitMQ take a certificate for a login.
PLUGIN = "rabbitmq_auth_mechanism_ssl"


def listener(folder: PurePath, address: str, *, passwords: bool = True) -> list[str]:
    """TLS 1.2 or later, a certificate of the authority asked of every client, and its common name as the user's.

    Args:
        folder: where the broker's machine has the three files.
        address: where to listen, a port or address and port.
        passwords: whether a client may give name and password too, in place of its certificate's name.
    """
    lines = [
        f"listeners.ssl.1 = {address}",
        f"ssl_options.cacertfile = {folder / CA}",
        f"ssl_options.certfile = {folder / CERTIFICATE}",
        f"ssl_options.keyfile = {folder / KEY}",
        "ssl_options.verify = verify_peer",
        "ssl_options.fail_if_no_peer_cert = true",
        "ssl_options.versions.1 = tlsv1.3",
        "ssl_options.versions.2 = tlsv1.2",
        "ssl_cert_login_from = common_name",
        "auth_mechanisms.1 = EXTERNAL",
    ]
    return [*lines, "auth_mechanisms.2 = PLAIN"] if passwords else lines
