"""A simulation works in stores of its own, and the models of its job end in those of the parties."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fedbus import models
from fedbus.cli import simulation
from fedbus.cli.workplace import open_workplace
from fedbus.errors import ConfigError, StoreError
from fedbus.store.sqlite import SqliteStore
from federation import ROLES, Federation, synthetic


@pytest.fixture
def federation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Federation:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    folder = tmp_path / "job"
    folder.mkdir()
    return synthetic(folder, solver="gram")


def arguments(federation: Federation) -> tuple[Any, ...]:
    return federation.job_file, federation.files, "memory", ROLES, lambda _: None


def run(federation: Federation, keep: Path | None = None) -> dict[str, Any]:
    federation.write_job()
    return simulation.run(*arguments(federation), keep=keep).to_map()


def test_the_parties_stores_get_the_models_and_nothing_else(federation: Federation, tmp_path: Path) -> None:
    report = run(federation)
    for name in ("shop", "bank"):
        path = federation.folder / "state" / f"{name}.db"
        assert [model.fields["party"] for model in models.listed(path)] == [name]
        with SqliteStore(path) as store:
            assert store.jobs() == []
    assert report["warnings"] == []
    assert not list((tmp_path / "scratch").iterdir())


def test_a_store_that_a_party_works_on_does_not_get_the_model_which_is_not_lost(
    federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedbus.cli.workplace._BUSY_SECONDS", 0.2)
    path = federation.folder / "state" / "bank.db"
    with SqliteStore(path):
        report = run(federation)
    (kept,) = (tmp_path / "scratch").iterdir()
    (warning,) = report["warnings"]
    assert f"the model of bank is in {kept / 'bank.db'}, not in the store" in warning
    assert "bank.db: another process works on this store" in warning
    assert [model.fields["job"] for model in models.listed(kept / "bank.db")] == [report["job"]]
    assert [model.fields["job"] for model in models.listed(federation.folder / "state" / "shop.db")] == [report["job"]]


def test_two_at_once_of_the_same_files(federation: Federation) -> None:
    federation.write_job()
    with ThreadPoolExecutor(2) as threads:
        reports = [threads.submit(simulation.run, *arguments(federation)) for _ in range(2)]
        jobs = [report.result().job for report in reports]
    for name in ("shop", "bank"):
        found = models.listed(federation.folder / "state" / f"{name}.db")
        assert sorted(model.fields["job"] for model in found) == sorted(jobs)


def test_what_is_kept(federation: Federation, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    report = run(federation, folder)
    names = {each.name for each in folder.iterdir()}
    assert {"shop.db", "bank.db", "coordinator.db", "simulation.log", "report.json"} <= names
    assert json.loads((folder / "report.json").read_text())["job"] == report["job"]
    assert (
        "serving" in (folder / "simulation.log").read_text()
        or str(report["job"]) in (folder / "simulation.log").read_text()
    )
    with SqliteStore(folder / "bank.db") as store:
        assert [record.job for record in store.jobs()] == [report["job"]]
    assert len(models.listed(federation.folder / "state" / "bank.db")) == 1
    with pytest.raises(ConfigError, match=r"--keep: .*kept is not empty; name a new folder"):
        run(federation, folder)
    with pytest.raises(ConfigError, match=r"--keep: .*shop\.csv cannot be the folder"):
        run(federation, federation.folder / "shop.csv")


def test_a_failed_job_leaves_the_parties_stores_alone(federation: Federation, tmp_path: Path) -> None:
    table = federation.folder / "shop.csv"
    table.write_text("id,y,a,b\n" + "\n".join(f"other{row},{row},1,{row}" for row in range(50)) + "\n")
    report = run(federation, tmp_path / "kept")
    assert report["state"] == "failed"
    assert not (federation.folder / "state").exists()
    assert json.loads((tmp_path / "kept" / "report.json").read_text())["state"] == "failed"


def test_what_is_no_store_is_told_before_the_work(federation: Federation) -> None:
    path = federation.folder / "state" / "bank.db"
    path.parent.mkdir()
    path.write_text("id,a\n1,2\n")
    with pytest.raises(StoreError, match=r"bank\.db"):
        run(federation)
    assert path.read_text() == "id,a\n1,2\n"
    assert [each.name for each in path.parent.iterdir()] == ["bank.db"]


def test_no_place_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="TMPDIR"), open_workplace(None):
        pytest.fail("there is no such folder")
