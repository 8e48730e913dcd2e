"""What is said of failed attempts to connect that no test broker makes."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from pika.adapters.utils.connection_workflow import (
    AMQPConnectionWorkflowFailed,
    AMQPConnectorSocketConnectError,
    AMQPConnectorTransportSetupError,
)
from pika.exceptions import AuthenticationError

from certificates import files, issue
from fedbus.broker.rabbitmq.login import Login
from fedbus.broker.rabbitmq.refusals import explain
from fedbus.certificates.files import TlsFiles
from fedbus.errors import AccessRefused, BrokerError, ConnectionLost, Untrusted


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Login:
    own = issue(tmp_path_factory.mktemp("tls") / "certificates", "bank") / "members" / "bank"
    return Login("amqps://h/", files(own))


def verification(code: int, message: str = "something") -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, message
    return error


def tls(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}]")
    error.reason = reason
    return error


def said(error: BaseException, login: Login, kind: type[BrokerError] = Untrusted) -> str:
    explained = explain(error, login)
    assert type(explained) is kind
    return str(explained)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (verification(9), "is not valid yet: check this machine's clock"),
        (verification(10), "has expired: its administrator renews it"),
        (verification(26), "is not one for a server"),
        (verification(64), "is not for h: write a host name"),
        (verification(3, "no revocation list"), "is not accepted: no revocation list"),
        (tls("TLSV1_ALERT_PROTOCOL_VERSION"), "speaks no TLS 1.2 or later"),
        (tls("SSLV3_ALERT_CERTIFICATE_REVOKED"), "(certificate revoked): it was revoked"),
        (tls("SSLV3_ALERT_HANDSHAKE_FAILURE"), "(handshake failure): it is not one for a login"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_each_fault_of_a_certificate_has_its_sentence(certified: Login, error: ssl.SSLError, text: str) -> None:
    assert text in said(error, certified)


def test_what_is_not_about_certificates_may_pass_by_itself(certified: Login) -> None:
    assert "UNEXPECTED_EOF" in said(tls("UNEXPECTED_EOF_WHILE_READING"), certified, ConnectionLost)


def test_a_login_that_the_broker_does_not_offer_is_told_with_what_to_set(certified: Login) -> None:
    assert "enables the plugin rabbitmq_auth_mechanism_ssl" in said(
        AuthenticationError("EXTERNAL"), certified, AccessRefused
    )
    by_password = Login("amqps://bank:pw@h/", TlsFiles())
    assert "takes no passwords: leave the password out" in said(
        AuthenticationError("PLAIN"), by_password, AccessRefused
    )


def test_of_several_addresses_the_one_that_answered_is_told(certified: Login) -> None:
    answered = AMQPConnectorTransportSetupError(verification(62))
    silent = AMQPConnectorSocketConnectError(ConnectionRefusedError(111, "Connection refused"))
    for attempts in ([answered, silent], [silent, answered]):
        assert "is not for h" in said(AMQPConnectionWorkflowFailed(attempts), certified)
    assert "Connection refused" in said(AMQPConnectionWorkflowFailed([silent]), certified, ConnectionLost)


def test_the_files_are_named_in_what_is_said(certified: Login) -> None:
    assert certified.files.ca is not None
    assert isinstance(certified.files.ca.path, Path)
    assert f"FEDBUS_AMQP_CA: {certified.files.ca.path}" in said(verification(20), certified)
