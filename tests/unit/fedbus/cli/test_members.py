"""`fedbus identity` and `fedbus roster`: what an operator reads, what is refused, and which exit status there is."""

from __future__ import annotations

import io
import json
import re
import stat
from pathlib import Path

import pytest

from fedbus.cli import app, daemons
from fedbus.cli.app import invoke
from fedbus.identity import Identity, Role, Roster
from fedbus.members.keys import fingerprint, in_groups, in_words, read_public
from fedbus.statuses import Status

PARTY = 'name = "bank"\nstate = "s.db"\nidentity = "state/bank.key"\n[datasets.users]\nsource = "u.csv"\nid = "id"\n'
COORDINATOR = 'name = "c"\nidentity = "c.key"\nroster = "roster.toml"\nparties = ["bank"]\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("FEDBUS_IDENTITY", raising=False)
    (tmp_path / "bank.toml").write_text(PARTY)
    (tmp_path / "c.toml").write_text(COORDINATOR)
    return tmp_path


class Told:
    """What a command told."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> None:
        self.status = invoke(app, [str(argument) for argument in arguments])
        self.out, self.error = capsys.readouterr()


def words(public: str) -> str:
    key = read_public(public)
    assert key is not None
    return in_words(fingerprint(key))


@pytest.mark.parametrize(
    ("arguments", "name", "role", "key"),
    [
        (["bank.toml"], "bank", Role.PARTY, "state/bank.key"),
        (["c.toml"], "c", Role.COORDINATOR, "c.key"),
        (["keys/olga", "--client", "olga"], "olga", Role.CLIENT, "keys/olga"),
    ],
)
def test_an_identity_of_each_role_is_one_line_and_its_words(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], name: str, role: Role, key: str
) -> None:
    told = Told(capsys, "identity", folder / arguments[0], *arguments[1:])
    assert told.status == Status.DONE
    own = Identity.load(folder / key)
    assert stat.S_IMODE((folder / key).stat().st_mode) == 0o600
    assert told.out == own.introduction(name, role).line() + "\n"
    found = fingerprint(read_public(own.public) or b"")
    assert told.error.splitlines() == [f"fingerprint  {in_groups(found)}", f"in words     {in_words(found)}"]
    assert "private" not in told.out + told.error
    again = Told(capsys, "identity", folder / arguments[0], *arguments[1:])
    assert (again.out, again.error) == (told.out, told.error)


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (PARTY.replace("identity", "# identity"), [], "m.toml: identity: missing; add identity = "),
        (COORDINATOR.replace("identity", "# identity"), [], 'add identity = "state/c.key" and roster = "roster.toml"'),
        ('name = "x"\n', [], "m.toml: is it a party file or a coordinator file?"),
        (PARTY, ["--client", "olga"], "m.toml: with --client it is the key file that is named, olga.key for example"),
        (PARTY, ["--client", "Olga"], "--client Olga: a name has small letters"),
    ],
)
def test_an_identity_that_cannot_be_is_told_why(
    folder: Path, capsys: pytest.CaptureFixture[str], content: str, arguments: list[str], message: str
) -> None:
    file = folder / "m.toml"
    file.write_text(content)
    told = Told(capsys, "identity", file, *arguments)
    assert (told.status, told.out) == (Status.CONFIGURATION, "")
    assert message in told.error
    assert sorted(each.name for each in folder.iterdir()) == ["bank.toml", "c.toml", "m.toml"]


def test_a_roster_is_made_of_lines(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    roster = folder / "trust.toml"
    line = Told(capsys, "identity", folder / "bank.toml").out
    own = Identity.load(folder / "state/bank.key").public
    added = Told(capsys, "roster", "add", roster, line)
    assert added.status == Status.DONE
    assert added.out.splitlines()[0] == f"{roster}: bank, party: added"
    assert f"in words     {words(own)}" in added.out.splitlines()
    assert "note: compare the words with the operator of bank" in added.error
    again = Told(capsys, "roster", "add", roster, line)
    assert (again.status, again.error) == (Status.DONE, "")
    assert again.out.startswith(f"{roster}: bank, party: is there already")
    monkeypatch.setattr("sys.stdin", io.StringIO(Told(capsys, "identity", folder / "c.toml").out))
    assert Told(capsys, "roster", "add", roster, "-").status == Status.DONE
    assert {name: Roster.load(roster).role(name) for name in ("bank", "c")} == {"bank": "party", "c": "coordinator"}


def test_a_line_that_was_changed_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = Told(capsys, "identity", folder / "bank.toml").out
    for wrong in (line.replace("bank", "bunk"), line.replace('"party"', '"coordinator"'), line.strip()[:-6]):
        told = Told(capsys, "roster", "add", folder / "roster.toml", wrong)
        assert (told.status, told.out) == (Status.CONFIGURATION, "")
        assert re.search("error: LINE: .*(its proof does not fit it|was cut off)", told.error)
    assert not (folder / "roster.toml").exists()


def test_a_new_key_of_a_known_member_takes_a_decision(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roster, key = folder / "roster.toml", folder / "state/bank.key"
    Told(capsys, "roster", "add", roster, Told(capsys, "identity", folder / "bank.toml").out)
    before = Identity.load(key)
    key.unlink()
    line = Told(capsys, "identity", folder / "bank.toml").out
    own = Identity.load(key)
    refused = Told(capsys, "roster", "add", roster, line)
    assert (refused.status, refused.out) == (Status.CONFIGURATION, "")
    assert "members.bank: has another key" in refused.error
    assert words(own.public) in refused.error
    for options, message in (
        (["--until", "2001-01-01"], "--until 2001-01-01: is over"),
        (["--until", "tomorrow"], "tomorrow"),
        (["--until", "2999-12-31", "--replace"], "take one of the two"),
    ):
        told = Told(capsys, "roster", "add", roster, line, *options)
        assert (told.status, told.out) == (Status.CONFIGURATION, "")
        assert message in told.error
    assert Roster.load(roster).public("bank") == before.public
    rotated = Told(capsys, "roster", "add", roster, line, "--until", "2999-12-31")
    assert rotated.out.startswith(
        f"{roster}: bank, party: has two keys now: the new one, and the old one until 2999-12-31\n"
    )
    loaded = Roster.load(roster)
    assert loaded.public("bank") == own.public
    loaded.verify("bank", before.sign("x"), "x")
    assert Told(capsys, "roster", "remove", roster, "bank").out == f"{roster}: bank, party: removed\n"
    Told(capsys, "roster", "add", roster, before.introduction("bank", Role.PARTY).line())
    replaced = Told(capsys, "roster", "add", roster, line, "--replace")
    assert replaced.out.startswith(f"{roster}: bank, party: replaced\n")
    assert len(Roster.load(roster).member("bank").keys) == 1


def test_a_roster_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roster = folder / "roster.toml"
    bank, older, c = Identity(b"b" * 32), Identity(b"o" * 32), Identity(b"c" * 32)
    roster.write_text(
        f'[members]\nbank = [{{ key = "{bank.public}", since = 2026-11-28 }}, '
        f'{{ key = "{older.public}", until = 2001-01-01 }}]\n{c.introduction("c", Role.COORDINATOR).line()}\n'
    )
    told = Told(capsys, "roster", "show", roster)
    assert told.status == Status.DONE
    lines = [re.split("  +", line) for line in told.out.splitlines()]
    assert [line[:4] for line in lines] == [
        ["name", "role", "since", "until"],
        ["bank", "party", "2026-11-28", "-"],
        ["bank", "party", "-", "2001-01-01 (over)"],
        ["c", "coordinator", "-", "-"],
    ]
    assert [line[5] for line in lines[1:]] == [words(each.public) for each in (bank, older, c)]
    shown = json.loads(Told(capsys, "roster", "show", roster, "--json", "-").out)
    assert [(member["name"], member["role"]) for member in shown["members"]] == [
        ("bank", "party"),
        ("c", "coordinator"),
    ]
    keys = [key for member in shown["members"] for key in member["keys"]]
    assert [key["key"] for key in keys] == [bank.public, older.public, c.public]
    assert [(key["since"], key["until"], key["valid"], key["signed"]) for key in keys] == [
        ("2026-11-28", None, True, False),
        (None, "2001-01-01", False, False),
        (None, None, True, True),
    ]
    assert [key["words"] for key in keys] == [words(key["key"]) for key in keys]


def test_a_roster_that_is_not_there_and_a_member_that_is_not_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roster = folder / "none.toml"
    for arguments in (["show", roster], ["remove", roster, "bank"]):
        told = Told(capsys, "roster", *arguments)
        assert (told.status, f"{roster}: no such file" in told.error) == (Status.CONFIGURATION, True)
    Told(capsys, "roster", "add", roster, Identity(b"b" * 32).introduction("bank", Role.PARTY).line())
    told = Told(capsys, "roster", "remove", roster, "bonk")
    assert told.status == Status.NOT_FOUND
    assert f"there is no 'bonk'; `fedbus roster show {roster}` lists all" in told.error


@pytest.mark.parametrize(
    "command", [["roster"], ["roster", "add"], ["roster", "show"], ["roster", "remove"], ["identity"]]
)
def test_help_has_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    told = Told(capsys, *command, "--help")
    assert told.status == Status.DONE
    assert "Example:" in told.out or command == ["roster"]


def test_roster_alone_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told(capsys, "roster")
    assert told.status == Status.CONFIGURATION
    assert "Usage: " in told.out
    assert "error" not in told.error


@pytest.fixture
def olga(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The options of a client whose broker knows it as another."""
    monkeypatch.setenv("FEDBUS_AMQP_URL", "amqp://otto:secret@127.0.0.1:1/")
    line = Told(capsys, "identity", folder / "olga.key", "--client", "olga").out
    Told(capsys, "roster", "add", folder / "roster.toml", line)
    return ["--identity", str(folder / "olga.key"), "--roster", str(folder / "roster.toml")]


@pytest.mark.parametrize("command", [["watch", "job-1"], ["cancel", "job-1"], ["show", "job-1"], ["jobs"]])
def test_a_client_says_who_it_is_before_it_connects(
    olga: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    told = Told(capsys, *command, *olga)
    assert told.status == Status.CONFIGURATION
    assert f"{olga[3]}: members: has no otto with the key in {olga[1]}" in told.error
    assert "--roster: missing" in Told(capsys, *command, *olga[:2]).error
    monkeypatch.setenv("FEDBUS_IDENTITY", olga[1])
    monkeypatch.setenv("FEDBUS_ROSTER", olga[3])
    assert "has no otto with the key" in Told(capsys, *command).error
    # The options win over the environment.
    assert "none.key: no such file" in Told(capsys, *command, "--identity", "none.key").error


def test_a_coordinator_that_its_roster_does_not_have_does_not_start(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEDBUS_AMQP_URL", raising=False)
    Told(
        capsys, "roster", "add", folder / "roster.toml", Identity(b"b" * 32).introduction("c", Role.COORDINATOR).line()
    )
    Told(capsys, "identity", folder / "c.toml")
    command = daemons._single(daemons._coordinator, "x")
    assert invoke(command, ["--config", str(folder / "c.toml")]) == Status.CONFIGURATION
    assert f"{folder / 'roster.toml'}: members.c: is not the key in {folder / 'c.key'}" in capsys.readouterr().err
    Told(capsys, "roster", "add", folder / "roster.toml", "--replace", Told(capsys, "identity", folder / "c.toml").out)
    # It goes on to what it asks for next.
    assert invoke(command, ["--config", str(folder / "c.toml")]) == Status.CONFIGURATION
    assert "broker.url: missing" in capsys.readouterr().err
