"""What a stored model says of itself, and how it is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fedbus import __version__, codec, models
from fedbus.cli import app
from fedbus.cli.app import invoke
from fedbus.errors import NotFound, StoreError
from fedbus.statuses import Status
from fedbus.store.sqlite import SqliteStore
from federation import held_out, synthetic
from rows import synthetic as synthetic_rows


def test_each_share_of_a_vertical_model_describes_itself(tmp_path: Path) -> None:
    federation = synthetic(tmp_path, max_epochs=3)
    held_out(federation, 10)
    job = federation.run()["job"]
    guest = models.read(tmp_path / "state" / "shop.db", job)
    host = models.read(tmp_path / "state" / "bank.db", job)
    for party, model in (("shop", guest), ("bank", host)):
        said = model.describe()
        assert (said["job"], said["name"], said["algorithm"]) == (job, "test", "vertical-linear")
        assert (said["party"], said["parties"], said["program"]) == (party, ["shop", "bank"], __version__)
        assert (said["loss"], said["label"]) == ("mse", {"name": "y", "mean": 0.0, "scale": 1.0})
        assert (said["columns"], len(said["weights"]), said["rounds"]) == (["a", "b"], 2, 3)
        assert said["params"]["solver"] == "sgd"
        json.dumps(said, allow_nan=False)
    assert (guest.fields["role"], host.fields["role"]) == ("guest", "host")
    assert guest.fields["intercept"] is not None
    assert host.fields["intercept"] is None


@pytest.mark.parametrize("solver", ["gram", "sgd"])
def test_a_model_counts_the_rounds_that_its_report_counts(tmp_path: Path, solver: str) -> None:
    federation = synthetic(tmp_path)
    federation.params = {"key_bits": 512, "insecure_for_tests": True, "solver": solver, "max_epochs": 4}
    report = federation.run()
    assert report["rounds"] == len(report["loss"]) > 0
    for party in ("shop", "bank"):
        said = models.read(tmp_path / "state" / f"{party}.db", report["job"]).describe()
        assert said["rounds"] == report["rounds"]


def test_a_network_describes_itself_and_gives_its_tensors(tmp_path: Path) -> None:
    rows = synthetic_rows(tmp_path, rounds=2)
    job = rows.run()["job"]
    model = models.read(tmp_path / "state" / "bob.db", job)
    said = json.loads(json.dumps(model.describe(), allow_nan=False))
    assert (said["algorithm"], said["party"], said["rounds"]) == ("fedavg", "bob", 2)
    assert said["network"]["layers"][-1] == {"linear": 1}
    assert said["last"]["tensors"]["0.weight"] == [8, 3]
    np.testing.assert_array_equal(model.weights().flat, rows.model(job, "alice").flat)
    with pytest.raises(StoreError, match="no tensors 'none'"):
        model.weights("none")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """The path of a store that is open, with a model in its write-ahead log."""
    path = tmp_path / "bank.db"
    with SqliteStore(path) as made:
        made.save_model("prices-1", codec.pack({"format": models.FORMAT, "job": "prices-1"}))
        made.save_model("old-1", codec.pack({"columns": []}))
        yield path


def test_a_store_is_read_while_its_process_works_on_it(store: Path) -> None:
    assert models.read(store, "prices-1").fields["job"] == "prices-1"


def test_what_is_not_there_is_a_sentence(store: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"bank\.db: no model of job prices-2; did you mean prices-1"):
        models.read(store, "prices-2")
    with pytest.raises(NotFound, match="no model of job x; it has 2: see `fedbus model"):
        models.read(store, "x")
    with pytest.raises(StoreError, match="of another format than 1"):
        models.read(store, "old-1")
    with pytest.raises(StoreError, match="there is no such store"):
        models.read(tmp_path / "shop.db", "prices-1")


def test_the_command_lists_models_and_shows_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    federation = synthetic(tmp_path, max_epochs=2)
    job = federation.run()["job"]
    store = tmp_path / "state" / "bank.db"
    with SqliteStore(store):
        capsys.readouterr()
        assert invoke(app, ["model", str(store)]) == 0
        heading, line = capsys.readouterr().out.splitlines()
        assert heading.split() == ["job", "name", "algorithm", "kept", "rounds"]
        assert line.startswith(f"{job}  test  vertical-linear")
        assert invoke(app, ["model", str(tmp_path / "bank.toml"), job, "--json", "-"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert (shown["job"], shown["party"], shown["columns"]) == (job, "bank", ["a", "b"])
        assert (shown["intercept"], shown["dependent"], shown["alike"]) == (None, {}, [])
        assert invoke(app, ["model", str(store), job]) == 0
        facts, table = capsys.readouterr().out.split("\n\n")
        told = dict(line.split(maxsplit=1) for line in facts.splitlines())
        title, headings, *rows = table.splitlines()
        assert (title, headings.split()) == ("columns", ["column", "weights", "mean", "scale"])
        assert [row.split()[0] for row in rows] == ["a", "b"]
        weights = models.read(store, job).fields["weights"]
        assert [float(row.split()[1]) for row in rows] == pytest.approx(weights.tolist(), rel=1e-5)
        assert not {"intercept", "dependent", "alike"} & set(told)
        assert invoke(app, ["model", str(store), "no-such-job"]) == Status.NOT_FOUND
        assert "no model of job no-such-job; it has 1" in capsys.readouterr().err
        assert invoke(app, ["model", str(tmp_path / "shop.csv")]) == Status.STORE
        assert "is not a store of fedbus" in capsys.readouterr().err
