"""As whom a connection logs in, by URL and certificates, and that nothing switches verification off."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from pika.credentials import ExternalCredentials, PlainCredentials
from structlog.testing import capture_logs

from certificates import files, issue
from fedbus.broker.rabbitmq.login import Login
from fedbus.certificates.files import TlsFiles
from fedbus.errors import ConfigError


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return files(issue(tmp_path_factory.mktemp("tls") / "certificates", "bank") / "members" / "bank")


@pytest.mark.parametrize("url", ["amqps://h/", "amqps://bank@h/", "amqps://h", "amqps://[::1]:5671/v", "amqps://h/%2F"])
def test_without_a_password_the_certificate_is_the_login(tls: TlsFiles, url: str) -> None:
    login = Login(url, tls)
    assert (login.user, login.certified, login.port) == ("bank", True, 5671)
    assert login.host == ("::1" if "::1" in url else "h")
    assert login.vhost == ("v" if url.endswith("v") else "/")
    assert isinstance(login.parameters(30, "x").credentials, ExternalCredentials)


def test_with_a_password_the_url_is_the_login(tls: TlsFiles) -> None:
    login = Login("amqps://ann:p%40w@h/", tls)
    assert (login.user, login.certified) == ("ann", False)
    assert login.parameters(30, "x").credentials == PlainCredentials("ann", "p@w")


@pytest.mark.parametrize("chosen", ["all", "ca", "none"])
def test_the_server_is_verified_by_name_and_authority_in_tls_1_2_at_least(tls: TlsFiles, chosen: str) -> None:
    given = {"all": tls, "ca": TlsFiles(ca=tls.ca), "none": TlsFiles()}[chosen]
    options = Login("amqps://ann:pw@broker.example/", given).parameters(30, "x").ssl_options
    context = options.context
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert options.server_hostname == "broker.example"
    # With an authority of its own, it trusts no other.
    own = [dict(part[0] for part in each["subject"]) for each in context.get_ca_certs()]
    assert own == [{"commonName": "fedbus"}] or chosen == "none"


def test_connections_are_told_apart(tls: TlsFiles) -> None:
    login = Login("amqps://h/", tls)
    one, two = login.parameters(30, "one"), login.parameters(31, "two")
    assert (one.heartbeat, one.client_properties["connection_name"]) == (30, "one")
    assert (two.heartbeat, two.client_properties["connection_name"]) == (31, "two")


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("amqp://bank:pw@h/", "FEDBUS_AMQP_CA: .* is for TLS, and the broker URL begins with amqp://"),
        ("amqps://shop@h/", "certificate.pem: is of 'bank', and the broker URL of another user"),
        ("amqps://bank:pw@h/?ssl_options={'protocol':2}", "ssl_options is not taken from a URL"),
        ("amqps://bank:pw@h/?ssl%5Foptions=%7B%7D", "ssl_options is not taken from a URL"),
        ("amqps://bank@h/?n=pw", "not of the form"),
    ],
)
def test_what_does_not_fit_together_is_refused(tls: TlsFiles, url: str, error: str) -> None:
    with pytest.raises(ConfigError, match=error) as caught:
        Login(url, tls)
    assert "pw" not in str(caught.value)


def test_a_user_alone_needs_a_certificate(tls: TlsFiles) -> None:
    for given in (TlsFiles(), TlsFiles(ca=tls.ca)):
        with pytest.raises(ConfigError, match="has no password, and no certificate is set to log in by; set broker"):
            Login("amqps://bank@h/", given)


def test_a_certificate_that_ends_soon_is_told_once(tmp_path: Path) -> None:
    # It lasts 30 days from a moment ago.
    login = Login("amqps://h/", files(issue(tmp_path / "certificates", "bank") / "members" / "bank"))
    with capture_logs() as logs:
        login.parameters(30, "one")
        login.parameters(30, "two")
    assert [line["log_level"] for line in logs] == ["warning"]
    assert "certificate.pem: ends at" in logs[0]["certificate"]
