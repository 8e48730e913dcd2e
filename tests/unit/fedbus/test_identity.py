"""Identities: signatures as the RFC has them, files that are refused, and secrets that two members have in common."""

from __future__ import annotations

import base64
import datetime
import os
import stat
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbus.crypto import signing
from fedbus.errors import ConfigError, ProtocolError
from fedbus.identity import Identity, Role, Roster
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


def test_two_members_agree_on_a_secret_of_their_own() -> None:
    carol = Identity(b"c" * 32)
    roster = Roster.of({"alice": ALICE.public, "bob": BOB.public, "carol": carol.public})
    secret = ALICE.agree(roster, "bob")
    assert len(secret) == 32
    assert BOB.agree(roster, "alice") == secret
    assert len({secret, ALICE.agree(roster, "carol"), BOB.agree(roster, "carol")}) == 3


def test_the_secret_is_the_one_that_is_known_for_the_keys() -> None:
    known = vectors("x25519_of_ed25519.json")
    one, other = (Identity(bytes.fromhex(private)) for private, *_ in known["converted"][1:])
    assert one.agree(Roster.of({"other": other.public}), "other").hex() == known["agreed"]


def test_a_member_with_two_keys_is_agreed_with_by_either() -> None:
    older, day = Identity(b"o" * 32), datetime.date(2026, 12, 31)
    entries = [{"key": older.public, "until": day}, {"key": BOB.public}]
    roster = Roster.of({"alice": ALICE.public, "bob": entries}, lambda: day)
    assert ALICE.agree(roster, "bob") == ALICE.agree(roster, "bob", BOB.public) == BOB.agree(roster, "alice")
    assert ALICE.agree(roster, "bob", older.public) == older.agree(roster, "alice") != BOB.agree(roster, "alice")
    over = Roster.of({"alice": ALICE.public, "bob": entries}, lambda: day + datetime.timedelta(1))
    for public in (older.public, ALICE.public, "ed25519:", text(bytes(32))):
        with pytest.raises(ProtocolError, match="bob agrees on secrets by a key that the roster does not have for it"):
            ALICE.agree(over, "bob", public)


def test_nothing_is_agreed_with_who_is_not_on_the_roster() -> None:
    with pytest.raises(ProtocolError, match="'dave' is not on the roster"):
        ALICE.agree(ROSTER, "dave")


def test_an_introduction_is_an_entry_of_a_roster_with_its_proof() -> None:
    member = ALICE.introduction("alice", Role.CLIENT)
    roster = Roster.of(tomllib.loads(member.line()))
    assert roster.members == (member,)
    assert (roster.public("alice"), roster.role("alice")) == (ALICE.public, Role.CLIENT)
    assert len(member.keys[0].proof) == 64
