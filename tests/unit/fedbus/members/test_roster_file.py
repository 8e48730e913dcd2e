"""Changes of a roster file: lines that arrive whole or not, keys that change, and what else stands in the file."""

from __future__ import annotations

import contextlib
import datetime
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbus.errors import ConfigError, NotFound
from fedbus.identity import Identity, Role, Roster
from fedbus.members.entries import Member
from fedbus.members.roster_file import Change, add, introduced, remove

ALICE, NEW, NEWER = Identity(b"a" * 32), Identity(b"n" * 32), Identity(b"m" * 32)
BOB = Identity(b"b" * 32)
TODAY, LAST = datetime.date(2026, 11, 28), datetime.date(2026, 12, 31)
LINE = ALICE.introduction("alice", Role.PARTY).line()


def alice(identity: Identity = ALICE, role: Role = Role.PARTY) -> Member:
    return introduced(identity.introduction("alice", role).line())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "roster.toml"
    add(path, introduced(BOB.introduction("bob", Role.CLIENT).line()), TODAY)
    return path


def test_a_line_arrives() -> None:
    assert introduced(LINE) == ALICE.introduction("alice", Role.PARTY)
    assert introduced(f"\n  {LINE.replace(' ', chr(10))}\r\n") == introduced(LINE)


@given(st.integers(0, len(LINE) - 1))
def test_a_line_that_was_cut_off_is_noticed(end: int) -> None:
    with pytest.raises(ConfigError, match="LINE: "):
        introduced(LINE[:end])


@given(st.integers(0, len(LINE) - 1), st.characters(min_codepoint=32, max_codepoint=126))
def test_a_line_with_another_character_is_noticed_or_says_the_same(at: int, typed: str) -> None:
    changed = LINE[:at] + typed + LINE[at + 1 :]
    with contextlib.suppress(ConfigError):
        assert introduced(changed) == introduced(LINE)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "is not one whole line of a member"),
        ("alice", "is not one whole line"),
        (f'alice = "{ALICE.public}"', "has no key, role and proof"),
        (LINE.replace("proof", "prof"), "has no key, role and proof"),
        (LINE.replace('role = "party", ', ""), "has no key, role and proof"),
        (LINE.replace("role", "until = 2030-01-01, role"), "until: belongs in a roster"),
        (f"alice = [{LINE.partition(' = ')[2]}]", "is not one whole line"),
        (LINE.replace("alice", "Alice"), "members.Alice: not a name"),
        (LINE + " " * 2000, "is not one whole line"),
        (LINE.replace("ed25519:", "ed25519-private:"), "a private key, which no other may have"),
    ],
)
def test_lines_that_are_none_are_refused(line: str, message: str) -> None:
    with pytest.raises(ConfigError, match="LINE: ") as caught:
        introduced(line)
    assert message in str(caught.value)
    assert ALICE.public.removeprefix("ed25519:") not in str(caught.value)


def test_two_lines_at_once_are_refused() -> None:
    with pytest.raises(ConfigError, match="is not one whole line"):
        introduced(f"{LINE}\n{BOB.introduction('bob', Role.PARTY).line()}")


def test_a_member_enters_a_new_roster(tmp_path: Path) -> None:
    path = tmp_path / "trust" / "roster.toml"
    assert add(path, alice(), TODAY) is Change.ADDED
    roster = Roster.load(path)
    assert (roster.names, roster.public("alice"), roster.role("alice")) == (("alice",), ALICE.public, Role.PARTY)
    assert roster.member("alice").keys[0].since == TODAY
    before = path.read_bytes()
    assert add(path, alice(), LAST) is Change.KNOWN
    assert path.read_bytes() == before


def test_all_else_in_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "roster.toml"
    path.write_text(f'# Ours.\u2028\n\n[parties]\n# The bank.\nbob = "{BOB.public}"  # Bob\n\n# The end.')
    path.chmod(0o640)
    add(path, alice(), TODAY)
    line = alice().line().replace("proof", f"since = {TODAY}, proof")
    kept = f'# Ours.\u2028\n\n[parties]\n# The bank.\nbob = "{BOB.public}"  # Bob\n\n# The end.\n'
    assert path.read_text() == f"{kept}{line}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    add(path, alice(NEW), TODAY, replace=True)
    assert path.read_text() == f"{kept}{alice(NEW).line().replace('proof', f'since = {TODAY}, proof')}\n"
    assert remove(path, "alice").name == "alice"
    assert path.read_text() == kept
    assert [file.name for file in tmp_path.iterdir()] == ["roster.toml"]


def test_a_file_of_windows_takes_a_member_too(tmp_path: Path) -> None:
    path = tmp_path / "roster.toml"
    path.write_bytes(f'[members]\r\nbob = "{BOB.public}"\r\n'.encode("utf-16"))
    add(path, alice(), TODAY)
    assert Roster.load(path).names == ("alice", "bob")


def test_another_key_of_a_known_member_is_refused_unless_asked_for(path: Path) -> None:
    add(path, alice(), TODAY)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"roster.toml: members.alice: has another key. If its operator confirms"):
        add(path, alice(NEW), TODAY)
    assert path.read_bytes() == before
    assert add(path, alice(NEW), TODAY, replace=True) is Change.REPLACED
    assert Roster.load(path).member("alice").keys[0].public == alice(NEW).keys[0].public
    assert len(Roster.load(path).member("alice").keys) == 1


def test_a_key_is_changed_with_an_overlap(path: Path) -> None:
    add(path, alice(), TODAY)
    assert add(path, alice(NEW), TODAY, until=LAST) is Change.ROTATED
    roster = Roster.load(path, lambda: LAST)
    for identity in (ALICE, NEW):
        roster.verify("alice", identity.sign("x"), "x")
    assert roster.public("alice") == NEW.public
    assert [key.until for key in roster.member("alice").keys] == [None, LAST]
    # The line of the old key is no step back.
    with pytest.raises(ConfigError, match="this is the key that it had before"):
        add(path, alice(), TODAY, until=LAST)
    assert add(path, alice(NEW), TODAY) is Change.KNOWN
    # A member has two keys at most: the oldest goes.
    later = LAST + datetime.timedelta(30)
    add(path, alice(NEWER), TODAY, until=later)
    keys = Roster.load(path).member("alice").keys
    assert [key.public for key in keys] == [alice(each).keys[0].public for each in (NEWER, NEW)]
    assert [key.until for key in keys] == [None, later]


def test_a_key_that_ends_before_ends_no_later_by_a_change(path: Path) -> None:
    add(path, alice(), TODAY)
    path.write_text(path.read_text().replace("alice = { ", f"alice = {{ until = {TODAY}, "))
    add(path, alice(NEW), TODAY, until=LAST)
    assert [key.until for key in Roster.load(path).member("alice").keys] == [None, TODAY]


def test_a_role_changes_only_where_that_is_asked_for(path: Path) -> None:
    add(path, alice(), TODAY)
    for until in (None, LAST):
        with pytest.raises(ConfigError, match="is a party here, and the line is of a coordinator; --replace"):
            add(path, alice(ALICE, Role.COORDINATOR), TODAY, until=until)
    add(path, alice(ALICE, Role.COORDINATOR), TODAY, replace=True)
    assert Roster.load(path).role("alice") is Role.COORDINATOR


def test_a_key_of_another_member_is_refused(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(ConfigError):
        add(path, alice(BOB), TODAY)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        f'[members.bob]\nkey = "{BOB.public}"\n',
        f'[members]\nbob = [\n  {{ key = "{BOB.public}" }},\n]\n',
        f'members = {{ bob = "{BOB.public}" }}\n',
    ],
)
def test_a_file_of_another_layout_is_left_as_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "roster.toml"
    path.write_text(content)
    assert Roster.load(path).names == ("bob",)
    with pytest.raises(ConfigError, match=r"roster.toml: .*line"):
        add(path, introduced(NEW.introduction("bob", Role.PARTY).line()), TODAY, replace=True)
    with pytest.raises(ConfigError, match=r"roster.toml: .*line"):
        remove(path, "bob")
    assert path.read_text() == content


def test_who_is_not_there_cannot_be_removed(path: Path) -> None:
    with pytest.raises(NotFound, match=r"roster.toml: members: there is no 'carol'"):
        remove(path, "carol")
    with pytest.raises(ConfigError, match="no such file"):
        remove(path.with_name("none.toml"), "bob")


def test_the_last_member_may_leave_and_another_enter(path: Path) -> None:
    remove(path, "bob")
    with pytest.raises(ConfigError, match="there are none; `fedbus roster add` enters one"):
        Roster.load(path)
    add(path, alice(), TODAY)
    assert Roster.load(path).names == ("alice",)


def test_a_full_disk_leaves_the_roster_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"roster.toml: cannot be written: No space left"):
        add(path, alice(), TODAY)
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 1
