"""`fedbus audit`: what an operator reads of a log, and the exit status where it is not what was written."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from fedbus.cli import app
from fedbus.cli.app import invoke
from fedbus.identity import Identity, Role
from fedbus.statuses import Status
from fedbus.store.sqlite import SqliteStore

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A party with two records, the first of which it signed."""
    for name in ("FEDBUS_IDENTITY", "FEDBUS_ROSTER", "FEDBUS_STATE"):
        monkeypatch.delenv(name, raising=False)
    own = Identity.create(tmp_path / "bank.key")
    (tmp_path / "roster.toml").write_text(f"[members]\n{own.introduction('bank', Role.PARTY).line()}\n")
    (tmp_path / "bank.toml").write_text(
        'name = "bank"\nstate = "bank.db"\nidentity = "bank.key"\nroster = "roster.toml"\n'
        '[datasets.users]\nsource = "u.csv"\nid = "id"\n'
    )
    with SqliteStore(tmp_path / "bank.db") as store:
        store.audit.enter("accepted", "job-1", submitter="olga")
        store.audit.sign(own, "bank")
        store.audit.enter("refused", "job-2", reason="rule `ask`")
    return tmp_path


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def made(command: str, *arguments: str | Path) -> tuple[int, str, str]:
        status = invoke(app, ["audit", command, str(folder / "bank.toml"), *map(str, arguments)])
        return status, *capsys.readouterr()

    return made


def test_records_are_listed(run: Run) -> None:
    status, out, _ = run("show")
    assert status == Status.DONE
    assert [word in out for word in ("accepted", "submitter olga", "signature", "refused", "rule `ask`")] == [True] * 5
    _, out, _ = run("show", "--job", "job-2", "--json", "-")
    assert [record["event"] for record in json.loads(out)["records"]] == ["refused"]
    assert run("show", "--job", "job-9")[1] == "no records\n"


def test_a_sound_log_says_how_far_it_is_signed(run: Run) -> None:
    status, out, _ = run("verify")
    assert status == Status.DONE
    assert out == "3 records, as they were written\n1 signatures, which reach up to record 2\n"
    assert json.loads(run("verify", "--json", "-")[1])["signed"] == 2


def test_a_log_that_was_changed_is_told_by_its_first_wrong_record(run: Run, folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "bank.db")) as connection:
        connection.execute("UPDATE audit SET entry = replace(entry, 'olga', 'eve') WHERE number = 1")
        connection.commit()
    status, _, error = run("verify")
    assert status == Status.STORE
    assert "bank.db: the audit log is not what was written: record 1" in error


def test_an_export_is_private_and_shows_a_log_that_begins_otherwise(run: Run, folder: Path) -> None:
    export = folder / "export.jsonl"
    assert run("export", export)[:2] == (Status.DONE, f"{export}: 3 records\n")
    assert stat.S_IMODE(export.stat().st_mode) == 0o600
    assert "the log begins with what is in" in run("verify", "--against", export)[1]
    (folder / "bank.db").unlink()
    with SqliteStore(folder / "bank.db") as store:
        store.audit.enter("accepted", "job-1", submitter="olga")
    assert run("verify")[0] == Status.DONE
    status, _, error = run("verify", "--against", export)
    assert status == Status.STORE
    assert "record 1 of the log is another than in the export" in error


def test_what_cannot_be_read_or_written_is_named(run: Run, folder: Path) -> None:
    status, _, error = run("verify", "--against", folder / "none.jsonl")
    assert (status, "none.jsonl: cannot be read" in error) == (Status.CONFIGURATION, True)
    status, _, error = run("export", folder / "no folder" / "x")
    assert (status, "cannot be written" in error) == (Status.CONFIGURATION, True)
    (folder / "bank.db").unlink()
    assert run("show")[0] == Status.STORE
