"""`fedbus doctor` without a broker: files and their modes, dates of keys, room and memory, and how findings leave."""

from __future__ import annotations

import datetime
import json
from collections import namedtuple
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fedbus.broker.rabbitmq.inspection import Clocks
from fedbus.cli import app
from fedbus.cli.doctor import machine
from fedbus.cli.doctor.broker import examine_clocks
from fedbus.cli.doctor.findings import Findings, Level
from fedbus.identity import Identity, Role
from fedbus.members.roster import today
from fedbus.statuses import Status

GIB = 1024**3
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a party that is sound but for the broker, where nobody listens."""
    members = [
        Identity.create(tmp_path / f"{name}.key").introduction(name, role)
        for name, role in (("shop", Role.PARTY), ("bank", Role.PARTY), ("coordinator", Role.COORDINATOR))
    ]
    (tmp_path / "roster.toml").write_text("\n".join(["[members]", *(member.line() for member in members)]) + "\n")
    (tmp_path / "shop.toml").write_text(
        'name = "shop"\nstate = "state/shop.db"\nidentity = "shop.key"\nroster = "roster.toml"\n'
        '[datasets.t]\nsource = "t.csv"\nid = "id"\n'
    )
    (tmp_path / "t.csv").write_text("id,x\n1,2\n")
    url = tmp_path / "shop.url"
    url.write_text("amqp://shop:secret-word@127.0.0.1:1/\n")
    url.chmod(0o600)
    monkeypatch.delenv("FEDBUS_AMQP_URL", raising=False)
    monkeypatch.setenv("FEDBUS_AMQP_URL_FILE", str(url))
    return tmp_path


def run(*options: str) -> Result:
    done = CliRunner().invoke(app, ["doctor", *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def found(folder: Path, *options: str) -> dict[str, list[tuple[str, str]]]:
    run(*(options or [str(folder / "shop.toml")]), "--json", str(folder / "found.json"))
    steps: dict[str, list[tuple[str, str]]] = {}
    for step in json.loads((folder / "found.json").read_text())["steps"]:
        steps.setdefault(step["step"], []).append((step["level"], step["text"]))
    return steps


def test_each_finding_is_a_line_and_the_status_is_that_of_the_first_failure(place: Path) -> None:
    done = run(str(place / "shop.toml"))
    assert done.exit_code == Status.BROKER
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["ok", "file", f"{place}/shop.toml:", "a", "party's,", "shop"]
    assert next(line for line in lines if line.startswith("failure")).split()[1:3] == ["connection", "127.0.0.1:1"]
    assert "error: 1 fault has to be mended" in done.stderr
    assert "secret-word" not in done.output


def test_a_login_that_others_may_read_is_a_warning(place: Path) -> None:
    (place / "shop.url").chmod(0o644)
    assert (
        "warning",
        f"{place}/shop.url: holds this member's login, and others may read it (mode 0644); chmod 600 {place}/shop.url",
    ) in found(place)["file"]


def test_a_private_key_that_others_may_read_is_a_failure(place: Path) -> None:
    (place / "shop.key").chmod(0o640)
    steps = found(place)
    ((level, text),) = steps["identity"]
    assert (level, "chmod 600" in text) == ("failure", True)
    assert steps["roster"] == [("not checked", "there is no identity to look for on it")]


def test_a_file_that_is_wrong_is_all_that_is_told(place: Path) -> None:
    (place / "shop.toml").write_text('name = "shop"\nstate = "s.db"\n[policy]\nmin_row = 5\n')
    steps = found(place)
    assert steps.keys() == {"file"}
    assert steps["file"][0][0] == "failure"
    assert "unknown key 'policy.min_row'; did you mean 'min_rows'?" in steps["file"][0][1]
    assert run(str(place / "shop.toml")).exit_code == Status.CONFIGURATION


def test_a_party_without_keys_is_told_how_to_make_them(place: Path) -> None:
    (place / "shop.toml").write_text('name = "shop"\nstate = "s.db"\n[policy]\n')
    ((level, text),) = found(place)["identity"]
    assert level == "failure"
    assert f"`fedbus identity {place}/shop.toml` makes the key" in text


@pytest.mark.parametrize(
    ("name", "days", "level", "words"),
    [
        ("bank", -1, "warning", "its key ended on"),
        ("shop", -1, "failure", "its key ended on"),
        ("bank", 20, "warning", "its only key ends on"),
        ("bank", 40, "ok", "has shop by this key"),
    ],
)
def test_dates_of_keys(place: Path, name: str, days: int, level: str, words: str) -> None:
    roster, day = place / "roster.toml", today() + datetime.timedelta(days=days)
    lines = [
        line.replace(" }", f", until = {day} }}") if line.startswith(f"{name} =") else line
        for line in roster.read_text().splitlines()
    ]
    roster.write_text("\n".join(lines) + "\n")
    last_level, text = found(place)["roster"][-1]
    assert (last_level, words in text) == (level, True)
    assert level == "ok" or f"{roster}: {name}: " in text


def test_a_roster_without_a_coordinator_is_a_warning(place: Path) -> None:
    roster = place / "roster.toml"
    lines = [line for line in roster.read_text().splitlines() if not line.startswith("coordinator")]
    roster.write_text("\n".join(lines) + "\n")
    assert found(place)["roster"][-1] == (
        "warning",
        f"{roster}: has no coordinator; enter its line by `fedbus roster add`",
    )


def test_a_store_is_looked_at_and_left_as_it_is(place: Path) -> None:
    store = place / "state" / "shop.db"
    assert found(place)["store"] == [("ok", f"{store}: is made when the process starts")]
    store.parent.mkdir()
    store.write_text("id,x\n")
    ((level, text),) = found(place)["store"]
    assert (level, str(store) in text) == ("failure", True)
    assert store.read_text() == "id,x\n"


def test_every_table_is_read(place: Path) -> None:
    file = place / "shop.toml"
    file.write_text(file.read_text() + '[datasets.u]\nsource = "u.csv"\nid = "id"\n')
    first, second = found(place)["data"]
    assert first == ("ok", f"t: 1 rows of 1 columns in {place}/t.csv")
    assert (second[0], "u.csv: not found in folder" in second[1]) == ("failure", True)


def test_a_client_without_anything_is_told_what_to_set(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("FEDBUS_AMQP_URL_FILE", "FEDBUS_IDENTITY", "FEDBUS_ROSTER"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(place)
    steps = found(place, "--identity", str(place / "none.key"), "--roster", str(place / "roster.toml"))
    assert "no such file" in steps["identity"][0][1]
    assert steps["connection"] == [("failure", "broker.url: missing; name the file with it in FEDBUS_AMQP_URL_FILE")]
    assert "data" not in steps


@pytest.mark.parametrize(
    ("clocks", "ahead", "level"),
    [
        (Clocks(100.9, 100.0, 101.1), 0.0, Level.OK),
        (Clocks(100.1, 100.0, 100.2), 0.0, Level.OK),
        # A second of the broker's may have been nearly over.
        (Clocks(102.0, 100.0, 102.1), 1.0, Level.OK),
        (Clocks(99.0, 100.0, 99.5), -0.5, Level.OK),
        (Clocks(161.0, 100.0, 161.1), 60.0, Level.WARNING),
        (Clocks(40.0, 100.0, 40.1), -59.9, Level.OK),
        (Clocks(0.0, 3600.0, 0.0), -3600.0, Level.FAILURE),
    ],
)
def test_a_clock_is_off_by_no_less_than_is_said(clocks: Clocks, ahead: float, level: Level) -> None:
    assert clocks.ahead == pytest.approx(ahead)
    findings = Findings()
    examine_clocks(clocks, findings)
    assert [each.level for each in findings.all] == [level]


@pytest.mark.parametrize(("free", "level"), [(2 * GIB, Level.OK), (GIB // 2, Level.WARNING), (1024, Level.FAILURE)])
def test_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: Level) -> None:
    asked = []
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: asked.append(folder) or Usage(0, 0, free))
    findings = Findings()
    machine.examine_disk(tmp_path / "not" / "yet" / "there.db", findings)
    assert (asked, [each.level for each in findings.all]) == ([tmp_path], [level])


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("MemTotal: 9 kB\nMemAvailable:  4194304 kB\n", Level.OK),
        ("MemAvailable:  4096 kB\n", Level.WARNING),
        ("MemTotal: 9 kB\n", Level.UNCHECKED),
    ],
)
def test_memory(tmp_path: Path, text: str, level: Level) -> None:
    (tmp_path / "meminfo").write_text(text)
    findings = Findings()
    machine.examine_memory(findings, tmp_path / "meminfo")
    assert [each.level for each in findings.all] == [level]


def test_an_arithmetic_that_there_is_not_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    machine.tier.current.cache_clear()
    monkeypatch.setenv("FEDBUS_TIER", "fast")
    findings = Findings()
    machine.examine_arithmetic(findings)
    machine.tier.current.cache_clear()
    assert [(each.level, each.status) for each in findings.all] == [(Level.FAILURE, Status.CONFIGURATION)]
