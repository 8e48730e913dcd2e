"""A small certificate authority: its own certificate, the broker's, and one for each member. P-256 and SHA-256.

P-256 and not Ed25519: the broker serves TLS 1.2 too, for which Erlang takes no certificate of an Ed25519 key.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# Clocks of two machines differ; a certificate that was made a moment ago is valid on the slower one too.
_SKEW = datetime.timedelta(hours=1)

Key = ec.EllipticCurvePrivateKey
Host = x509.DNSName | x509.IPAddress


@dataclass(frozen=True)
class CertifiedKey:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: Key


def new_key() -> Key:
    """A private key from the operating system's generator."""
    return ec.generate_private_key(ec.SECP256R1())


def new_authority(name: str, key: Key, days: int, now: datetime.datetime) -> CertifiedKey:
    """An authority, which signs what it issues and nothing that issues itself.

    Args:
        name: its common name.
        days: for how long it is valid.
    """
    builder = _builder(name, _name(name), key, now, now + datetime.timedelta(days=days))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return CertifiedKey(builder.sign(key, hashes.SHA256()), key)


def issue_server(
    authority: CertifiedKey, key: Key, hosts: Sequence[str], days: int, now: datetime.datetime
) -> CertifiedKey:
    """A certificate with which a server proves that it is one of these hosts, names or addresses; it cannot log in."""
    names = x509.SubjectAlternativeName([as_host(host) for host in hosts])
    # A common name has 64 characters at most, and clients do not read it.
    builder = _issued(authority, hosts[0][:64], key, days, now, ExtendedKeyUsageOID.SERVER_AUTH)
    return CertifiedKey(builder.add_extension(names, critical=False).sign(authority.key, hashes.SHA256()), key)


def issue_member(authority: CertifiedKey, key: Key, name: str, days: int, now: datetime.datetime) -> CertifiedKey:
    """A certificate with which a member logs in as the broker's user of this name; it cannot serve."""
    builder = _issued(authority, name, key, days, now, ExtendedKeyUsageOID.CLIENT_AUTH)
    return CertifiedKey(builder.sign(authority.key, hashes.SHA256()), key)


def as_host(host: str) -> Host:
    """An address or a name as certificates have it.

    Raises:
        ValueError: a name with other letters than ASCII.
    """
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def hosts_of(certificate: x509.Certificate) -> list[str]:
    """The names and addresses that a server's certificate is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


def common_name(certificate: x509.Certificate) -> str:
    """The name that a certificate is of, which RabbitMQ takes for the user's; "" where it has none."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether an authority signed a certificate."""
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:  # noqa: BLE001  # whatever it does not verify for, it is not
        return False
    return True


def certificate_pem(certificate: x509.Certificate) -> str:
    """A certificate as its file has it."""
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def key_pem(key: Key) -> str:
    """A private key as its file has it, without a passphrase: a service starts without anybody there to type it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")


def read_key(pem: bytes) -> Key:
    """The private key in a file that `key_pem` wrote.

    Raises:
        ValueError: it is none.
    """
    try:
        key = load_pem_private_key(pem, None)
    except TypeError as error:
        raise ValueError("it has a passphrase") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("it is of another kind")  # noqa: TRY004  # of a file's contents
    return key


def _issued(
    authority: CertifiedKey, name: str, key: Key, days: int, now: datetime.datetime, purpose: x509.ObjectIdentifier
) -> x509.CertificateBuilder:
    # Nothing is valid for longer than who vouches for it.
    end = min(now + datetime.timedelta(days=days), authority.certificate.not_valid_after_utc)
    builder = _builder(name, authority.certificate.subject, key, now, end)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    return (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(identifier, critical=False)
    )


def _builder(
    name: str, issuer: x509.Name, key: Key, now: datetime.datetime, end: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
