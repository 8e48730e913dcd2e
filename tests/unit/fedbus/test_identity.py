"""Identities and the roster: signatures as the RFC has them, files that are refused, and who signed what."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbus.crypto import signing
from fedbus.errors import ConfigError, ProtocolError
from fedbus.identity import Identity, Roster
from places import vectors

VECTORS = vectors("ed25519.json")
ALICE, BOB = Identity(bytes(range(32))), Identity(b"b" * 32)
ROSTER = Roster.of({"alice": ALICE.public, "bob": BOB.public})


def text(key: bytes) -> str:
    return "ed25519:" + base64.b64encode(key).decode()


@pytest.mark.parametrize(("private", "public", "message", "signature"), VECTORS["signatures"])
def test_signs_as_the_rfc(private: str, public: str, message: str, signature: str) -> None:
    secret, data = bytes.fromhex(private), bytes.fromhex(message)
    assert signing.public_key(secret).hex() == public
    assert signing.sign(secret, data).hex() == signature
    assert signing.is_signed(bytes.fromhex(public), bytes.fromhex(signature), data)
    assert Identity(secret).public == text(bytes.fromhex(public))


def test_what_is_signed_is_the_statement_as_defined() -> None:
    """Peers of two versions would not accept each other's signatures if it changed."""
    expected = b"fedbus statement" + b"".join(
        len(field).to_bytes(8, "big") + field for field in ("schlüssel".encode(), b"one", b"", b"two")
    )
    assert signing.statement("schlüssel", [b"one", b"", b"two"]) == expected
    assert ALICE.sign("schlüssel", b"one", b"", b"two") == signing.sign(bytes(range(32)), expected)


fields = st.tuples(st.text(st.characters(codec="utf-8"), max_size=3), st.lists(st.binary(max_size=3), max_size=3))


@given(fields, fields)
def test_statements_differ_unless_purpose_and_parts_agree(
    one: tuple[str, list[bytes]], other: tuple[str, list[bytes]]
) -> None:
    assert (signing.statement(*one) == signing.statement(*other)) == (one == other)


def test_the_roster_knows_who_signed() -> None:
    signature = ALICE.sign("keys", b"job", b"1")
    assert len(signature) == 64
    ROSTER.verify("alice", signature, "keys", b"job", b"1")
    ROSTER.verify("bob", BOB.sign("keys", b"job", b"1"), "keys", b"job", b"1")
    assert ROSTER.names == ("alice", "bob")


@pytest.mark.parametrize(
    ("name", "purpose", "parts"),
    [
        ("bob", "keys", (b"job", b"1")),
        ("alice", "shares", (b"job", b"1")),
        ("alice", "keys", (b"job", b"2")),
        ("alice", "keys", (b"job1",)),
        ("alice", "keys", (b"jo", b"b1")),
        ("alice", "keys", (b"job", b"1", b"")),
        ("alice", "keysjob", (b"1",)),
    ],
)
def test_a_signature_is_for_its_signer_purpose_and_parts_only(
    name: str, purpose: str, parts: tuple[bytes, ...]
) -> None:
    signature = ALICE.sign("keys", b"job", b"1")
    with pytest.raises(ProtocolError, match=f"the {purpose} of {name} is not signed by the key that the roster has"):
        ROSTER.verify(name, signature, purpose, *parts)


@pytest.mark.parametrize("at", [0, 31, 32, 63])
def test_a_changed_signature_is_refused(at: int) -> None:
    signature = bytearray(ALICE.sign("keys"))
    signature[at] ^= 1
    with pytest.raises(ProtocolError, match="not signed"):
        ROSTER.verify("alice", bytes(signature), "keys")


@pytest.mark.parametrize("size", [0, 63, 65])
def test_a_signature_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ProtocolError, match="not signed"):
        ROSTER.verify("alice", (ALICE.sign("keys") + b"\0")[:size], "keys")


def test_who_is_not_on_the_roster_is_named() -> None:
    with pytest.raises(ProtocolError, match="'carol' is not on the roster"):
        ROSTER.verify("carol", ALICE.sign("keys"), "keys")


def test_an_identity_is_kept_in_a_file_of_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "alice.key"
    created = Identity.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    loaded = Identity.load(path)
    assert loaded.public == created.public
    Roster.of({"alice": created.public}).verify("alice", loaded.sign("x"), "x")
    line = path.read_text()
    assert line.startswith("ed25519-private:")
    assert line.endswith("\n")
    assert len(line.splitlines()) == 1
    assert line.removeprefix("ed25519-private:").strip() not in f"{created!r} {created}"


def test_two_identities_differ(tmp_path: Path) -> None:
    assert Identity.create(tmp_path / "a").public != Identity.create(tmp_path / "b").public


def test_an_identity_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "alice.key"
    path.write_text("something")
    with pytest.raises(ConfigError, match=r"alice.key: there is a file already"):
        Identity.create(path)
    assert path.read_text() == "something"


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    made = Identity.create(tmp_path / "state" / "alice.key")
    assert Identity.load(tmp_path / "state" / "alice.key").public == made.public


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file/alice.key: cannot be written"):
        Identity.create(tmp_path / "file" / "alice.key")


def test_a_full_disk_leaves_no_half_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="cannot be written: No space left"):
        Identity.create(tmp_path / "alice.key")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610])
def test_a_private_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "alice.key"
    Identity.create(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=rf"alice.key: .* others may read \(mode {mode:04o}\); chmod 600"):
        Identity.load(path)
    path.chmod(0o400)
    assert Identity.load(path)


def test_files_that_hold_no_identity_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none: no such file; create an identity"):
        Identity.load(tmp_path / "none")
    tmp_path.chmod(0o700)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        Identity.load(tmp_path)
    path = tmp_path / "alice.key"
    Identity.create(path)
    good = path.read_bytes()
    key = good.removeprefix(b"ed25519-private:").strip()
    bad = [b"", b"ed25519-private:\n", key, good + good, b"ed25519-private:" + key[4:], b"\xff" + good, ALICE.public]
    for content in bad:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ConfigError, match=r"alice.key: no private key") as caught:
            Identity.load(path)
        assert key.decode() not in str(caught.value)
    path.write_bytes(good.strip() + b"\r\n")
    assert Identity.load(path)


def test_a_roster_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "roster.toml"
    path.write_text(f'[parties]\nbob = "{BOB.public}"\nalice = "{ALICE.public}"\n')
    roster = Roster.load(path)
    assert roster.names == ("alice", "bob")
    roster.verify("bob", BOB.sign("x", b"y"), "x", b"y")


SECRET = "ed25519-private:" + base64.b64encode(bytes(range(32))).decode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "missing key 'parties'"),
        ("[parties]", "parties: there are none"),
        ("parties = 3", "parties: Expected a table, got a whole number"),
        ("[party]\nalice = 1", "unknown key 'party'; did you mean 'parties'"),
        ("[parties]\nalice = 3", "parties.alice: not a public key"),
        ('[parties]\nalice = "ed25519:AAAA"', "parties.alice: not a public key"),
        (f'[parties]\nalice = "{ALICE.public[8:]}"', "parties.alice: not a public key"),
        (f'[parties]\nalice = "{ALICE.public}="', "parties.alice: not a public key"),
        (f'[parties]\nalice = "{SECRET}"', "parties.alice: a private key"),
        (f'[parties]\n"A b" = "{ALICE.public}"', "parties.A b: not a name"),
        (f'[parties]\nalice = "{ALICE.public}"\nbob = "{ALICE.public}"', "parties.bob: the same key as parties.alice"),
        (f'alice = "{ALICE.public}"', "alice: the keys of parties go under [parties]"),
        (f'alice = "{SECRET}"', "alice: the keys of parties go under [parties]"),
        (f'bob = "{BOB.public}"\n[parties]\nalice = "{ALICE.public}"', "bob: the keys of parties go under [parties]"),
        ("parties", "not valid TOML"),
    ],
)
def test_rosters_that_are_none_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "roster.toml"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        Roster.load(path)
    assert f"{path}: {message}" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_roster_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"roster.toml: no such file"):
        Roster.load(tmp_path / "roster.toml")


P = 2**255 - 19


@pytest.mark.parametrize("y", [0, 1, P - 1, P, P + 1])
@pytest.mark.parametrize("sign", [0, 1])
def test_a_key_that_anybody_can_sign_by_is_refused(y: int, sign: int) -> None:
    weak = (y + (sign << 255)).to_bytes(32, "little")
    with pytest.raises(ConfigError, match=r"roster: parties.alice: not a public key"):
        Roster.of({"alice": text(weak)})


def test_the_points_of_order_8_are_refused() -> None:
    """Doubling the point (x, y) three times gives the neutral element; the first doubling leads to y = 0."""
    d = -121665 * pow(121666, -1, P) % P
    found = [y for y in signing._WEAK if y not in (0, 1, P - 1, P, P + 1)]
    assert len(found) == 2
    for y in found:
        square_of_x = (y * y - 1) * pow(d * y * y + 1, -1, P) % P
        # -x^2 + y^2 = 1 + d x^2 y^2, and of twice the point y is (x^2 + y^2) / (1 - d x^2 y^2).
        assert pow(square_of_x, (P - 1) // 2, P) == 1
        assert (square_of_x + y * y) % P == 0
        assert signing.is_weak(y.to_bytes(32, "little"))
