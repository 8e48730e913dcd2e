"""The roster: what its file may say, who signed what in which role, and keys that are changed."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbus.crypto import edwards
from fedbus.errors import ConfigError, ProtocolError
from fedbus.identity import Identity, Role, Roster
from fedbus.members.keys import read_public

ALICE, BOB, OLDER = Identity(bytes(range(32))), Identity(b"b" * 32), Identity(b"o" * 32)
ROSTER = Roster.of({"alice": ALICE.public, "bob": BOB.public})
LAST = datetime.date(2026, 12, 31)
DAY = datetime.timedelta(1)
SECRET = "ed25519-private:" + base64.b64encode(bytes(range(32))).decode()


def text(key: bytes) -> str:
    return "ed25519:" + base64.b64encode(key).decode()


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


def test_a_role_is_asked_for_where_it_matters() -> None:
    roster = Roster.of({"alice": {"key": ALICE.public, "role": "client"}, "bob": BOB.public})
    assert (roster.role("alice"), roster.role("bob")) == (Role.CLIENT, Role.PARTY)
    signature = ALICE.sign("order", b"1")
    roster.verify("alice", signature, "order", b"1")
    roster.verify("alice", signature, "order", b"1", role=Role.CLIENT)
    with pytest.raises(
        ProtocolError, match="the order of alice is signed by a client, where only a coordinator may sign it"
    ):
        roster.verify("alice", signature, "order", b"1", role=Role.COORDINATOR)
    with pytest.raises(ProtocolError, match="'carol' is not on the roster"):
        roster.role("carol")


def rotated(today: datetime.date) -> Roster:
    keys = [{"key": OLDER.public, "until": LAST}, {"key": BOB.public, "since": datetime.date(2026, 12, 1)}]
    return Roster.of({"bob": keys}, lambda: today)


def test_both_keys_of_a_member_count_until_the_older_has_run_out() -> None:
    for today in (LAST - DAY, LAST):
        roster = rotated(today)
        for identity in (OLDER, BOB):
            roster.verify("bob", identity.sign("x", b"y"), "x", b"y")
        assert roster.public("bob") == BOB.public
        assert (roster.owner(BOB.public), roster.owner(OLDER.public)) == ("bob", None)
        assert roster.keys("bob") == (read_public(BOB.public), read_public(OLDER.public))
    roster = rotated(LAST + DAY)
    roster.verify("bob", BOB.sign("x", b"y"), "x", b"y")
    with pytest.raises(ProtocolError, match="not signed by the key"):
        roster.verify("bob", OLDER.sign("x", b"y"), "x", b"y")


def test_a_roster_that_is_held_for_long_sees_a_key_run_out() -> None:
    days = [LAST, LAST + DAY]
    roster = Roster.of({"bob": {"key": BOB.public, "until": LAST}}, lambda: days.pop(0))
    roster.verify("bob", BOB.sign("x"), "x")
    with pytest.raises(ProtocolError, match="the key of 'bob' ran out on 2026-12-31"):
        roster.verify("bob", BOB.sign("x"), "x")


def test_the_day_is_that_of_utc() -> None:
    roster = Roster.of({"bob": {"key": BOB.public, "until": datetime.datetime.now(datetime.UTC).date() + DAY}})
    roster.verify("bob", BOB.sign("x"), "x")
    roster = Roster.of({"bob": {"key": BOB.public, "until": datetime.datetime.now(datetime.UTC).date() - 2 * DAY}})
    with pytest.raises(ProtocolError, match="ran out"):
        roster.verify("bob", BOB.sign("x"), "x")


@pytest.mark.parametrize("table", ["members", "parties"])
def test_a_roster_is_read_from_its_file(tmp_path: Path, table: str) -> None:
    path = tmp_path / "roster.toml"
    coordinator = Identity(b"c" * 32).introduction("coordinator", Role.COORDINATOR)
    path.write_text(f'[{table}]\nbob = "{BOB.public}"\n{coordinator.line()}\nalice = "{ALICE.public}"\n')
    roster = Roster.load(path)
    assert roster.names == ("alice", "bob", "coordinator")
    assert [roster.role(name) for name in roster.names] == [Role.PARTY, Role.PARTY, Role.COORDINATOR]
    assert roster.member("coordinator") == coordinator
    roster.verify("bob", BOB.sign("x", b"y"), "x", b"y")


@pytest.mark.parametrize("field", ["name", "role", "key", "proof"])
def test_an_entry_that_its_proof_does_not_fit_is_refused(tmp_path: Path, field: str) -> None:
    line = ALICE.introduction("alice", Role.PARTY).line()
    changes = {
        "name": ("alice", "alicf"),
        "role": ('"party"', '"coordinator"'),
        "key": (ALICE.public, BOB.public),
        "proof": ('proof = "', 'proof = "AAAA'),
    }
    assert changes[field][0] in line
    path = tmp_path / "roster.toml"
    path.write_text(f"[members]\n{line.replace(*changes[field])}\n")
    with pytest.raises(ConfigError, match=r"roster.toml: members.alic[ef]: its proof does not fit it: the line was ch"):
        Roster.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "members: there are none"),
        ("[parties]", "members: there are none"),
        ("parties = 3", "parties: Expected a table, got a whole number"),
        ("[party]\nalice = 1", "unknown key 'party'; did you mean 'parties'"),
        ("[parties]\nalice = 3", "parties.alice: not a public key"),
        ('[parties]\nalice = "ed25519:AAAA"', "parties.alice: not a public key"),
        (f'[parties]\nalice = "{ALICE.public[8:]}"', "parties.alice: not a public key"),
        (f'[parties]\nalice = "{ALICE.public}="', "parties.alice: not a public key"),
        (f'[parties]\nalice = "{ALICE.public[:-2]}9="', "parties.alice: not a public key"),
        (f'[parties]\nalice = "{SECRET}"', "parties.alice: a private key"),
        (f'[members]\nalice = {{ key = "{SECRET}" }}', "members.alice: a private key"),
        (f'[parties]\n"A b" = "{ALICE.public}"', "parties.A b: not a name"),
        (f'[parties]\nalice = "{ALICE.public}"\nbob = "{ALICE.public}"', "parties.bob: the same key as parties.alice"),
        (f'alice = "{ALICE.public}"', "alice: members go under [members]; write that line above them"),
        (f'alice = "{SECRET}"', "alice: members go under [members]"),
        (f'alice = {{ key = "{SECRET}" }}', "alice: members go under [members]"),
        (f'bob = "{BOB.public}"\n[parties]\nalice = "{ALICE.public}"', "bob: members go under [members]"),
        (
            f'[parties]\nbob = "{BOB.public}"\n[members]\nalice = "{ALICE.public}"',
            "parties: there is a table [members]",
        ),
        ("parties", "not valid TOML"),
        ("[members]\nalice = []", "members.alice: 0 keys; a member has one, or two while it changes its key"),
        (f'[members]\nalice = ["{ALICE.public}", "{BOB.public}", "{OLDER.public}"]', "members.alice: 3 keys"),
        (f'[members]\nalice = ["{ALICE.public}", "{BOB.public}"]', "members.alice: two keys without an end"),
        (
            f'[members]\nalice = [{{ key = "{BOB.public}", until = 2026-12-31 }}, "{BOB.public}"]',
            "members.alice: the same key twice",
        ),
        (
            f'[members]\nalice = [{{ key = "{BOB.public}", role = "client", until = 2026-12-31 }}, "{ALICE.public}"]',
            "members.alice: a member has one role, not client and party",
        ),
        (
            f'[members]\nalice = {{ key = "{BOB.public}", role = "clint" }}',
            "members.alice.role: unknown 'clint'; did you",
        ),
        (
            f'[members]\nalice = {{ key = "{BOB.public}", untill = 1 }}',
            "unknown key 'members.alice.untill'; did you mean",
        ),
        ('[members]\nalice = { role = "party" }', "members.alice: missing key 'key'"),
        (
            f'[members]\nalice = {{ key = "{BOB.public}", until = "2026-12-31" }}',
            "members.alice.until: expected a date without quotes, such as 2026-12-31",
        ),
        (
            f'[members]\nalice = {{ key = "{BOB.public}", until = 2026-12-31T10:00:00Z }}',
            "members.alice.until: expected a date",
        ),
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


def test_a_roster_of_nobody_is_none() -> None:
    with pytest.raises(ConfigError, match="roster: members: there are none"):
        Roster.of({})


P = 2**255 - 19


@pytest.mark.parametrize("y", [0, 1, 2, P - 1, P, P + 1])
@pytest.mark.parametrize("sign", [0, 1])
def test_a_key_of_nobody_is_refused(y: int, sign: int) -> None:
    key = (y + (sign << 255)).to_bytes(32, "little")
    assert not edwards.is_sound(key)
    with pytest.raises(ConfigError, match=r"roster: members.alice: not a public key"):
        Roster.of({"alice": text(key)})


dates = st.none() | st.dates()


@given(st.sampled_from(list(Role)), dates, dates, st.booleans())
def test_what_is_written_is_read_again(
    role: Role, since: datetime.date | None, until: datetime.date | None, signed: bool
) -> None:
    member = ALICE.introduction("a-1_b", role)
    key = dataclasses.replace(member.keys[0], since=since, until=until)
    key = key if signed else dataclasses.replace(key, proof=b"")
    keys: Any = (key,)
    if until is not None:
        keys = (BOB.introduction("a-1_b", role).keys[0], key)
    member = dataclasses.replace(member, keys=keys)
    assert Roster.of(tomllib.loads(member.line())).members == (member,)
