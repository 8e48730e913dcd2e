"""Whatever is wrong, the job ends `failed` on all sides with a reason that says what and where; nothing hangs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedbus.algorithms.vertical.messages import Forward, Residual
from fedbus.broker.base import Broker
from fedbus.cli import simulation
from fedbus.client import Client
from fedbus.crypto.engine import Engine
from fedbus.crypto.keys import generate_keypair
from fedbus.errors import ConfigError
from fedbus.job import JobState
from fedbus.messages.control import Start
from fedbus.messages.envelope import Message
from fedbus.session.session import Session
from fedbus.settings import PartySettings
from fedbus.store.sqlite import SqliteStore
from federation import ROLES, Federation, add_party, synthetic
from parties.worker import Worker

SECRET_CELL = "4711.secret"


def assert_failed_everywhere(federation: Federation, report: dict[str, Any], *words: str) -> None:
    """The report and the ledger of each party say the same."""
    assert report["state"] == "failed", report
    for word in words:
        assert word in report["reason"]
    assert SECRET_CELL not in report["reason"]
    for settings in federation.settings():
        with SqliteStore(federation.place / f"{settings.name}.db") as store:
            record = store.job(report["job"])
        assert record is not None
        assert (record.state, record.reason) == (JobState.FAILED, report["reason"])


def edit(file: Path, change: Callable[[list[str]], list[str]]) -> None:
    file.write_text("\n".join(change(file.read_text().splitlines())) + "\n")


def cell(row: int, column: int, value: str) -> Callable[[list[str]], list[str]]:
    """Replace a cell; row 1 is the header."""

    def change(lines: list[str]) -> list[str]:
        cells = lines[row - 1].split(",")
        cells[column] = value
        return [*lines[: row - 1], ",".join(cells), *lines[row:]]

    return change


@pytest.mark.parametrize("party", ["shop", "bank"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (cell(7, -1, SECRET_CELL), ("column 'b'", "row 7")),
        (cell(9, -1, "nan"), ("column 'b'", "row 9")),
        (cell(9, -1, ""), ("column 'b'", "row 9")),
        (cell(9, -1, "inf"), ("column 'b'", "row 9")),
        (lambda lines: [*lines, lines[4]], ("id", "rows 5 and 50")),
        (cell(1, 0, "key"), ("id",)),
        (lambda lines: lines[:1], ("row",)),
        (
            lambda lines: [lines[0], *(line.rsplit(",", 1)[0] + ",2.5" for line in lines[1:])],
            ("column 'b'", "same value"),
        ),
        (lambda lines: [lines[0], *("x" + line for line in lines[1:])], ("no id is common",)),
        (lambda lines: lines[:4], ("min_aligned_rows",)),
    ],
    ids=["text", "nan", "empty", "infinite", "duplicate", "no id column", "no rows", "constant", "disjoint", "too few"],
)
def test_wrong_data_is_named(
    tmp_path: Path, party: str, change: Callable[[list[str]], list[str]], words: tuple[str, ...]
) -> None:
    federation = synthetic(tmp_path)
    edit(tmp_path / f"{party}.csv", change)
    report = federation.run()
    assert_failed_everywhere(federation, report, *words)
    if "common" not in words[0] and "min" not in words[0]:
        assert f"{party}.csv" in report["reason"]
        assert report["reason"].startswith(f"{party}: ")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    federation = synthetic(tmp_path)
    (tmp_path / "bank.csv").unlink()
    assert_failed_everywhere(federation, federation.run(), "bank: ", "bank.csv")


def test_a_missing_label_is_named_with_the_nearest(tmp_path: Path) -> None:
    federation = synthetic(tmp_path)
    federation.label = "yy"
    assert_failed_everywhere(federation, federation.run(), "shop: ", "shop.csv", "'yy'", "y")


def test_an_unknown_data_set_is_named_with_the_nearest(tmp_path: Path) -> None:
    federation = synthetic(tmp_path)
    text = (tmp_path / "bank.toml").read_text().replace("[datasets.rows]", "[datasets.raws]")
    (tmp_path / "bank.toml").write_text(text)
    assert_failed_everywhere(federation, federation.run(), "bank", "'rows'", "did you mean 'raws'?")


def test_a_policy_that_refuses_is_named(tmp_path: Path) -> None:
    federation = synthetic(tmp_path)
    add_party(tmp_path, "bank", tmp_path / "bank.csv", "id", extra="[policy]\ninsecure_for_tests = false\n")
    assert_failed_everywhere(federation, federation.run(), "bank: ", "insecure_for_tests")


def test_party_files_must_be_those_of_the_job(tmp_path: Path) -> None:
    federation = synthetic(tmp_path)
    federation.write_job()
    with pytest.raises(
        ConfigError, match=r"job.toml: hosts\[0\].party: no party file of 'bank' is given by --party; given: shop"
    ):
        simulation.run(federation.job_file, federation.files[:1], "memory", ROLES, lambda _: None)


def test_a_party_that_never_comes_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Absent(Worker):
        def _begin(self, job: str, sender: str, message: Start) -> None:
            """As if its process were not there."""

    def party(config: PartySettings, broker: Broker, store: SqliteStore, engine: Engine, url: str) -> Worker:
        return (Absent if config.name == "bank" else Worker)(config, broker, store, engine, url)

    federation = synthetic(tmp_path)
    federation.limits = {"join": 5.0}
    roles = simulation.Roles(coordinator=ROLES.coordinator, party=party, compare=ROLES.compare)
    wait_ended = Client.wait_ended
    # Not for the one that is not there.
    monkeypatch.setattr(Client, "wait_ended", lambda self, job, _, seconds: wait_ended(self, job, ["shop"], seconds))
    report = federation.run(roles=roles)
    assert report["state"] == "failed"
    assert "bank did not join within 5 s (limits.join)" in report["reason"]
    with SqliteStore(federation.place / "shop.db") as store:
        record = store.job(report["job"])
    assert record is not None
    assert (record.state, record.reason) == (JobState.FAILED, report["reason"])


@pytest.mark.parametrize(
    ("kind", "sender", "victim"), [(Forward, "bank", "shop"), (Residual, "shop", "bank")], ids=["host", "guest"]
)
def test_ciphertexts_of_another_key_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Message], sender: str, victim: str
) -> None:
    other = generate_keypair(512).public
    send = Session._send

    def swapped(self: Session, to: str, message: Message, *place: Any) -> None:
        if isinstance(message, kind):
            message = kind(other.encrypt([1] * len(message.tensor), message.tensor.scale))  # type: ignore
        send(self, to, message, *place)

    monkeypatch.setattr(Session, "_send", swapped)
    federation = synthetic(tmp_path)
    assert_failed_everywhere(federation, federation.run(), f"{victim}: ", "key")


def test_a_key_shorter_than_agreed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "generate_keypair", lambda _, bits: generate_keypair(bits // 2))
    federation = synthetic(tmp_path, key_bits=1024)
    assert_failed_everywhere(federation, federation.run(), "key of 512 bits")


@pytest.mark.parametrize("rows", [1, 35, 37, 2000])
def test_a_vector_of_another_length_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    send = Session._send

    def resized(self: Session, to: str, message: Message, *place: Any) -> None:
        if isinstance(message, Forward):
            tensor = message.tensor
            one = tensor.part(0, 1)
            message = Forward(type(tensor)(one.fingerprint, one.scale, one.width, one.blob * rows))
        send(self, to, message, *place)

    monkeypatch.setattr(Session, "_send", resized)
    federation = synthetic(tmp_path)
    assert_failed_everywhere(federation, federation.run(), "shop: bank sent a forward of another length than agreed")
