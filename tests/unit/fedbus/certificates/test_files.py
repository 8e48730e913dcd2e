"""What a participant's files for TLS are held to before a broker is asked."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from certificates import expired, files, issue
from fedbus.certificates.files import NamedFile, TlsFiles
from fedbus.errors import ConfigError, Untrusted


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return issue(tmp_path_factory.mktemp("tls") / "certificates", "bank", "shop")


@pytest.fixture
def bank(issued: Path, tmp_path: Path) -> Path:
    """A folder of a member that a test may change."""
    return Path(shutil.copytree(issued / "members" / "bank", tmp_path / "bank"))


def test_the_name_of_the_certificate_is_told(bank: Path) -> None:
    assert files(bank).check() == "bank"
    files(bank).check_dates()
    assert TlsFiles().check() == ""
    assert TlsFiles(ca=files(bank).ca).check() == ""


def changed(bank: Path, issued: Path) -> dict[str, tuple[str, str | bytes, str]]:
    key = (bank / "key.pem").read_bytes()
    locked = load_pem_private_key(key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    return {
        "another key": ("key", (issued / "members/shop/key.pem").read_bytes(), "is not the key of the certificate in"),
        "a passphrase": ("key", locked, "has a passphrase, which a service cannot type"),
        "no key": ("key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "holds no private key"),
        "no certificate": ("certificate", b"hello\n", "holds no certificate that can be read"),
        "a key for a certificate": ("certificate", key, "holds a private key; expected certificates alone"),
        "a key for the ca": ("ca", key, "holds a private key; expected certificates alone"),
        "an empty ca": ("ca", b"", "holds no certificate that can be read"),
    }


@pytest.mark.parametrize(
    "what",
    [
        *("another key", "a passphrase", "no key", "no certificate"),
        *("a key for a certificate", "a key for the ca", "an empty ca"),
    ],
)
def test_a_file_that_is_something_else_is_named_with_its_setting(bank: Path, issued: Path, what: str) -> None:
    key, data, error = changed(bank, issued)[what]
    file = {"ca": "ca.pem", "certificate": "certificate.pem", "key": "key.pem"}[key]
    (bank / file).write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(ConfigError) as caught:
        files(bank).check()
    assert str(caught.value).startswith(f"FEDBUS_AMQP_{key.upper()}: {bank / file}: ")
    assert error in str(caught.value)


@pytest.mark.parametrize("file", ["ca.pem", "certificate.pem", "key.pem"])
def test_a_missing_file_is_named(bank: Path, file: str) -> None:
    (bank / file).unlink()
    with pytest.raises(ConfigError, match=f"{file}: no such file"):
        files(bank).check()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_may_use_is_refused_with_how_to_mend_it(bank: Path, mode: int) -> None:
    (bank / "key.pem").chmod(mode)
    with pytest.raises(ConfigError, match=rf"others may read \(mode 0{mode:o}\); chmod 600 .*key\.pem"):
        files(bank).check()


def test_a_certificate_needs_its_key_and_a_key_its_certificate(bank: Path) -> None:
    both = files(bank)
    with pytest.raises(ConfigError, match=r"FEDBUS_AMQP_CERTIFICATE: .* needs its key"):
        TlsFiles(certificate=both.certificate).check()
    with pytest.raises(ConfigError, match=r"FEDBUS_AMQP_KEY: .* needs its certificate"):
        TlsFiles(ca=both.ca, key=both.key).check()


def test_what_has_expired_and_what_is_not_valid_yet_is_told_with_its_time(issued: Path, tmp_path: Path) -> None:
    past = expired(tmp_path / "past", issued, "bank")
    with pytest.raises(Untrusted, match=r"certificate\.pem: expired at \d{4}-\d\d-\d\d \d\d:\d\d UTC, .*get a new one"):
        files(past / "members" / "bank").check_dates()
    early = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    with pytest.raises(Untrusted, match=r"certificate\.pem: is not valid before .* mend this machine's clock"):
        files(issued / "members" / "bank").check_dates(early)
    with pytest.raises(Untrusted, match=r"ca\.pem: is not valid before"):
        TlsFiles(ca=files(issued / "broker").ca).check_dates(early)


def test_of_two_authorities_one_may_have_ended(issued: Path, tmp_path: Path) -> None:
    new = issue(tmp_path / "new", "bank")
    both = tmp_path / "both.pem"
    both.write_bytes((issued / "authority/ca.pem").read_bytes() + (new / "authority/ca.pem").read_bytes())
    ca = TlsFiles(ca=NamedFile(both, "broker.ca"))
    assert ca.check() == ""
    ca.check_dates()


def test_a_certificate_that_ends_soon_is_told_with_its_end(bank: Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    assert files(bank).ending(29, now) == ""
    said = files(bank).ending(31, now)
    assert f"certificate.pem: ends at {now + datetime.timedelta(days=30):%Y-%m-%d}" in said
    assert TlsFiles(ca=files(bank).ca).ending(10_000, now) == ""
