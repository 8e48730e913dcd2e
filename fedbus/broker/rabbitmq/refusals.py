"""Why there is no connection, in words: what pika, OpenSSL and the broker say of it, and what to do."""

from __future__ import annotations

import ssl

from pika.exceptions import (  # type: ignore[import-untyped]
    AuthenticationError,
    ConnectionClosed,
    IncompatibleProtocolError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from fedbus.broker.rabbitmq.login import Login
from fedbus.errors import AccessRefused, BrokerError, ConnectionLost, Untrusted

_REFUSALS = (AuthenticationError, ProbableAuthenticationError, ProbableAccessDeniedError)

# Of OpenSSL's x509_vfy.h, what it finds wrong with a server's certificate.
_NOT_YET, _EXPIRED, _PURPOSE, _HOST, _ADDRESS = 9, 10, 26, 62, 64
_STRANGERS = frozenset((2, 18, 19, 20, 21))


def explain(error: BaseException, login: Login) -> BrokerError:
    """What a failed attempt to connect means.

    Args:
        error: pika's, or what ended the connection below it.
    """
    cause = root_cause(error)
    where = f"RabbitMQ at {login.place}"
    if isinstance(cause, BrokerError):
        return cause
    if isinstance(cause, _REFUSALS):
        return AccessRefused(_refused(cause, login, where))
    if isinstance(cause, ssl.SSLError) and (text := _of_tls(cause, login, where)):
        return Untrusted(text)
    remedy = ""
    if isinstance(error, IncompatibleProtocolError):
        remedy = (
            "; its log says whether it does not accept this participant's certificate"
            if login.secure
            else "; where that port is the broker's for TLS, its URL begins with amqps://"
        )
    return ConnectionLost(f"cannot connect to {where}: {describe(cause)}{remedy}")


def root_cause(error: BaseException) -> BaseException:
    """What lies under pika's wrappers of a failed attempt."""
    if isinstance(error, (*_REFUSALS, BrokerError)):
        return error
    if attempts := getattr(error, "exceptions", None):
        # A name may have several addresses. Where a server answered at one, what it said tells more than silence.
        causes = [root_cause(each) for each in attempts]
        return next((each for each in causes if isinstance(each, (*_REFUSALS, ssl.SSLError))), causes[-1])
    inner = [each for each in (getattr(error, "exception", None), *error.args) if isinstance(each, BaseException)]
    return root_cause(inner[0]) if inner else error


def describe(error: BaseException) -> str:
    """An error of pika or the network in words."""
    if isinstance(error, ConnectionClosed):
        return f"{error.reply_code} {error.reply_text}"
    return str(error) or type(error).__name__


def _refused(cause: BaseException, login: Login, where: str) -> str:
    """Return the error of a broker that does not let a user in."""
    refuses = f"{where} refuses user {login.user} on vhost {login.vhost}"
    if not login.certified:
        if type(cause) is AuthenticationError:
            return (
                f"{where} takes no passwords: leave the password out of the broker URL and set broker.certificate and"
                " broker.key, or FEDBUS_AMQP_CERTIFICATE and FEDBUS_AMQP_KEY"
            )
        return f"{refuses}: check user, password and vhost"
    if type(cause) is AuthenticationError:
        return (
            f"{where} takes no login by certificate: its administrator enables the plugin rabbitmq_auth_mechanism_ssl"
            " and the lines of rabbitmq.conf that `fedbus tls` wrote"
        )
    return (
        f"{refuses}: its name is that of {login.files.certificate}; the broker's administrator makes the user by"
        " `fedbus broker-definitions` and `rabbitmqctl import_definitions`, and looks for"
        " `ssl_cert_login_from = common_name` in rabbitmq.conf"
    )


def _of_tls(cause: ssl.SSLError, login: Login, where: str) -> str:
    """Say that one of two sides does not accept the other's certificate; "" where the error is about something else."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _of_its_certificate(cause, login, where)
    reason = cause.reason or ""
    own = login.files.certificate
    if reason == "WRONG_VERSION_NUMBER":
        return f"{where} does not speak TLS on this port: check the broker URL's port, 5671 for amqps:// by default"
    if reason.endswith("PROTOCOL_VERSION") or reason == "UNSUPPORTED_PROTOCOL":
        return f"{where} speaks no TLS 1.2 or later; `ssl_options.versions` of its rabbitmq.conf has to list tlsv1.2"
    if "ALERT" not in reason:
        return ""
    said = reason.partition("ALERT_")[2].replace("_", " ").lower()
    if own is None:
        return (
            f"{where} asks for a certificate of this participant ({said}): set broker.certificate and broker.key, or"
            " FEDBUS_AMQP_CERTIFICATE and FEDBUS_AMQP_KEY; the broker's administrator makes them by `fedbus tls`"
        )
    why = {
        "certificate expired": "has expired by the broker's clock; get a new one, made by `fedbus tls FOLDER`",
        "unknown ca": "is not of the authority that the broker trusts; get one from the broker's administrator",
        "certificate revoked": "was revoked; ask the broker's administrator",
    }.get(said, "is not one for a login at it; the broker's administrator makes one by `fedbus tls FOLDER --member`")
    return f"{where} does not accept {own} ({said}): it {why}"


def _of_its_certificate(cause: ssl.SSLCertVerificationError, login: Login, where: str) -> str:
    trusted = str(login.files.ca or "the system's authorities, as no broker.ca and no FEDBUS_AMQP_CA is set")
    its, code = f"the certificate of {where}", cause.verify_code
    if code == _EXPIRED:
        return (
            f"{its} has expired: its administrator renews it by `fedbus tls FOLDER`; or this machine's clock is wrong"
        )
    if code == _NOT_YET:
        return f"{its} is not valid yet: check this machine's clock and the broker's"
    if code in (_HOST, _ADDRESS):
        return (
            f"{its} is not for {login.host}: write a host name into the broker URL that it is for, or the broker's"
            f" administrator adds this one by `fedbus tls FOLDER --broker {login.host}`"
        )
    if code in _STRANGERS:
        return (
            f"{its} is of no authority in {trusted}: set the ca.pem of the broker's administrator; where that is set,"
            " this is another server, or somebody between"
        )
    if code == _PURPOSE:
        return (
            f"{its} is not one for a server: its administrator makes one by `fedbus tls FOLDER --broker {login.host}`"
        )
    return f"{its} is not accepted: {cause.verify_message}"
