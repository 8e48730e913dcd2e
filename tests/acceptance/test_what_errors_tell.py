"""A party outside a simulation tells the kind of its trouble, and its own log all of it: cells, rows, counts, paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from coordinator.linear import side
from fedbus.broker.base import Broker
from fedbus.cli.simulation import Roles
from fedbus.crypto.engine import Engine
from fedbus.errors import ConfigError, StoreError
from fedbus.settings import PartySettings
from fedbus.store.sqlite import SqliteStore
from federation import ROLES, Federation, held_out
from federation import synthetic as columns
from parties.worker import Worker
from rows import Rows
from rows import synthetic as rows


def _stranger(config: PartySettings, broker: Broker, store: SqliteStore, engine: Engine, url: str) -> Worker:
    return Worker(msgspec.structs.replace(config, simulation=False), broker, store, engine, url)


STRANGERS = Roles(coordinator=ROLES.coordinator, party=_stranger, compare=ROLES.compare)


def told_and_logged(federation: Federation | Rows) -> tuple[str, list[str]]:
    """The reason of a job that failed, the same at all parties, and what the parties logged of it."""
    with capture_logs() as lines:
        report = federation.run(roles=STRANGERS)
    assert report["state"] == "failed"
    for settings in federation.settings():
        with SqliteStore(federation.place / f"{settings.name}.db") as store:
            record = store.job(report["job"])
        assert record is not None
        assert record.reason == report["reason"]
    events: list[Any] = [line["reason"] for line in lines if line["event"].startswith("cannot go on")]
    return report["reason"], events


@pytest.mark.parametrize("row", ["id999,1.0", "id999,1.0,", "id999,1.0,4711.secret"], ids=["short", "empty", "text"])
def test_a_bad_cell(tmp_path: Path, row: str) -> None:
    federation = columns(tmp_path)
    file = tmp_path / "bank.csv"
    lines = file.read_text().splitlines()
    lines[6] = row
    file.write_text("\n".join(lines) + "\n")
    told, logged = told_and_logged(federation)
    assert told == "bank: its data do not fit the job; its log says more"
    assert any("bank.csv" in line and "row 7" in line for line in logged)


def test_labels_that_are_no_classes(tmp_path: Path) -> None:
    federation = rows(tmp_path, loss="bce")
    told, logged = told_and_logged(federation)
    assert {each.partition(": ")[2] for each in told.splitlines()} == {"its data do not fit the job; its log says more"}
    assert any("bob_rows.csv: 24 of 24 labels are no class, the first in row 2" in line for line in logged)


def test_a_key_that_others_may_read(tmp_path: Path) -> None:
    federation = rows(tmp_path)
    federation.introduce()
    (tmp_path / "bob.key").chmod(0o644)
    # The party does not start, so that there is nobody whom it could tell.
    with pytest.raises(ConfigError, match=r"bob.key: a private key that others may read \(mode 0644\); chmod 600"):
        federation.run(roles=STRANGERS)


def test_a_folder_that_takes_no_predictions(tmp_path: Path) -> None:
    federation = columns(tmp_path)
    held_out(federation, 12)
    shop = federation.files[0]
    shop.write_text(f'{shop.read_text()}[outputs]\nfolder = "/proc/held"\n')
    told, logged = told_and_logged(federation)
    assert told == "shop: it cannot write its predictions of held-out rows; its log says more"
    assert any("/proc/held" in line for line in logged)


def test_a_store_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = columns(tmp_path)
    write = SqliteStore.save_model

    def full(self: SqliteStore, job: str, model: bytes) -> None:
        write(self, job, model)
        raise OSError(28, "No space left on device", str(self.path))

    monkeypatch.setattr(SqliteStore, "save_model", full)
    told, _ = told_and_logged(federation)
    assert str(tmp_path) not in told
    assert "internal error (OSError); its log says more" in told


def test_what_the_job_itself_names_is_told(tmp_path: Path) -> None:
    federation = columns(tmp_path)
    federation.label = "yy"
    told, logged = told_and_logged(federation)
    assert told == "shop: its data have no column of the label's name; its log says more"
    assert any("did you mean 'y'?" in line for line in logged)


def test_a_policy_says_what_it_refuses(tmp_path: Path) -> None:
    federation = rows(tmp_path, aggregation="plain")
    file = tmp_path / "bob.toml"
    file.write_text(file.read_text().replace('"plain"', ""))
    told, _ = told_and_logged(federation)
    assert "bob: this party does not take part with aggregation 'plain'" in told


def test_in_a_simulation_all_is_told(tmp_path: Path) -> None:
    assert "24 of 24 labels are no class" in rows(tmp_path, loss="bce").run()["reason"]


def test_the_coordinator_keeps_its_paths_back_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def conduct(*_: object) -> None:
        raise StoreError(f"{tmp_path}/coordinator.db: the store cannot be written")

    monkeypatch.setattr(side, "coordinate", conduct)
    told, _ = told_and_logged(columns(tmp_path))
    assert told == "coordinator: its store cannot be read or written; its log says more"
