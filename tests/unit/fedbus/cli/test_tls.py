"""`fedbus tls`: what it says goes to whom, the broker's lines, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fedbus.cli import app
from fedbus.errors import ConfigError

FIRST = ("--broker", "broker.example", "--member", "bank")


def run(folder: Path, *options: str) -> Result:
    result = CliRunner().invoke(app, ["tls", str(folder), *options])
    if result.exception is not None:
        raise result.exception
    return result


def test_it_says_what_goes_to_whom_and_prints_no_key(tmp_path: Path) -> None:
    said = run(tmp_path / "tls", *FIRST).output
    assert "stays with you, offline where that is possible" in said
    assert "to the broker: broker.example, 127.0.0.1" in said
    assert "to bank alone" in said
    assert 'url = "amqps://broker.example:5671/"' in said
    assert "BEGIN" not in said
    again = run(tmp_path / "tls").output
    assert "made" not in again
    assert again.count("kept") == 3


def test_the_broker_s_lines_ask_everybody_for_a_certificate(tmp_path: Path) -> None:
    file = tmp_path / "tls" / "broker" / "rabbitmq.conf"
    run(tmp_path / "tls", *FIRST, "--port", "5999", "--broker-folder", "/srv/tls")
    lines = file.read_text().splitlines()
    assert {
        "listeners.tcp = none",
        "listeners.ssl.1 = 5999",
        "ssl_options.keyfile = /srv/tls/key.pem",
        "ssl_options.verify = verify_peer",
        "ssl_options.fail_if_no_peer_cert = true",
        "ssl_cert_login_from = common_name",
        "auth_mechanisms.1 = EXTERNAL",
    } <= set(lines)
    assert not any(line.endswith(("tlsv1", "tlsv1.1")) for line in lines)
    run(tmp_path / "tls", "--keep-plaintext")
    assert "listeners.tcp" not in file.read_text()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--member", "bank"), "--broker: missing"),
        (("--broker", "h:5671"), "--broker h:5671: write a host name or an address alone"),
        (("--broker", "amqps://h"), "--broker amqps://h: write a host name"),
        (("--broker", "-h"), "--broker -h: write a host name"),
        (("--broker", "h", "--member", "Bank"), "--member Bank: a name has small letters"),
        (("--broker", "h", "--member", "../bank"), "--member ../bank: a name has small letters"),
        (("--broker", "h", "--broker-folder", "tls"), "--broker-folder tls: write the whole path"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, options: tuple[str, ...], error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run(tmp_path / "tls", *options)
    assert str(caught.value).startswith(error)
    assert not (tmp_path / "tls").exists()


def test_that_all_ends_with_the_authority_is_told(tmp_path: Path) -> None:
    assert "certificates end with their authority" in run(tmp_path / "tls", *FIRST, "--days", "3650").output
