"""Averaging gives right values in all units of columns and label: against a network of the kept model's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load

from fedbus import codec
from fedbus.algorithms import registry
from fedbus.algorithms.fedavg.moments import IMMENSE
from fedbus.messages.control import Progress
from fedbus.store.sqlite import SqliteStore
from rows import Rows, write_party, write_table

COLUMNS = ["milli", "bit", "minute", "constant", "at_one", "plain"]


def table(random: np.random.Generator, rows: int, at_one: float | None) -> np.ndarray:
    """Rows of columns whose values a 32-bit number cannot tell apart, or loses, and a label of all of them."""
    hidden = random.normal(size=(rows, 4))
    milli, bit = 1.7e12 + np.round(500 * hidden[:, 0], 1), 1e15 + (hidden[:, 1] > 0)
    own = np.full(rows, at_one) if at_one is not None else random.normal(size=rows) + 7
    label = 2e5 + 6e4 * (hidden[:, 0] + (hidden[:, 1] > 0) - hidden[:, 2] + 0.5 * hidden[:, 3])
    return np.column_stack([milli, bit, 1e-12 * hidden[:, 2], np.full(rows, 0.1), own, hidden[:, 3], label])


def awkward(folder: Path, **params: Any) -> Rows:
    random = np.random.default_rng(8)
    for name, at_one in (("bob", 3.0), ("alice", None), ("carol", None)):
        write_table(folder / f"{name}_rows.csv", [*COLUMNS, "y"], table(random, 40, at_one))
        write_table(folder / f"{name}_held.csv", [*COLUMNS, "y"], table(random, 20, at_one))
        write_party(folder, name)
    rows = Rows(folder, "y", ["bob", "alice", "carol"], tested=True, layers="[{ linear = 1 }]")
    rows.params = {"rounds": 40, "batch_size": 10, "learning_rate": 0.05, **params}
    return rows


def read(folder: Path, parties: list[str], kind: str) -> tuple[np.ndarray, np.ndarray]:
    parts = [np.genfromtxt(folder / f"{name}_{kind}.csv", delimiter=",", skip_header=1)[:, 1:] for name in parties]
    values = np.concatenate(parts)
    return values[:, :-1], values[:, -1]


def kept(rows: Rows, job: str, party: str = "alice") -> dict[str, Any]:
    settings = next(each for each in rows.settings() if each.name == party)
    with SqliteStore(settings.path(settings.state)) as store:
        model: dict[str, Any] = codec.unpack(store.model(job) or b"")
    return model


def predictions(model: dict[str, Any], features: np.ndarray, which: str = "last") -> np.ndarray:
    """As the page on models shows."""
    network = torch.nn.Sequential(torch.nn.Linear(features.shape[1], 1))
    network.load_state_dict(load(bytes(model[which])))
    with torch.no_grad():
        outputs = network(torch.tensor((features - model["mean"]) / model["scale"], dtype=torch.float32))
    return np.asarray(outputs.numpy()[:, 0].astype(np.float64) * model["label"]["scale"] + model["label"]["mean"])


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rows, dict[str, Any]]:
    rows = awkward(tmp_path_factory.mktemp("awkward"))
    return rows, rows.run()


def test_columns_and_label_have_the_mean_and_deviation_of_all_rows(job: tuple[Rows, dict[str, Any]]) -> None:
    rows, report = job
    features, label = read(rows.folder, rows.parties, "rows")
    model = kept(rows, report["job"])
    centre = features[0] + (features - features[0]).mean(axis=0)
    np.testing.assert_allclose(model["mean"], centre, rtol=1e-13)
    deviation = (features - features[0]).std(axis=0)
    deviation[3] = IMMENSE
    np.testing.assert_allclose(model["scale"], deviation, rtol=1e-12)
    assert (model["label"]["mean"], model["label"]["scale"]) == pytest.approx((label.mean(), label.std()), rel=1e-12)
    assert report["constant_columns"] == ["constant"]


def test_what_is_reported_is_what_the_kept_model_predicts(job: tuple[Rows, dict[str, Any]]) -> None:
    rows, report = job
    assert report["state"] == "succeeded", report
    features, label = read(rows.folder, rows.parties, "held")
    model = kept(rows, report["job"])
    error = np.mean((predictions(model, features) - label) ** 2)
    assert report["test_mse"] == pytest.approx(error, rel=1e-5)
    assert report["test_loss"][-1] == pytest.approx(error, rel=1e-5)
    assert report["test"]["r2"] == pytest.approx(1 - error / label.var(), abs=1e-6)
    assert report["test"]["r2"] > 0.99
    assert report["test_baseline"] == pytest.approx(label.var(), rel=1e-9)
    assert report["warnings"] == []
    assert report["clipped"] == dict.fromkeys(rows.parties, 0)
    assert report["max_weight_difference"] < 1e-6
    # The loss has the label's unit, squared, for those who watch too.
    told = [event.loss for event in rows.events if isinstance(event, Progress)]
    assert told == report["loss"]
    assert 1e9 < told[0] < 1e11
    if "best_test" in report:
        best = np.mean((predictions(model, features, "best") - label) ** 2)
        assert report["best_test"]["mse"] == pytest.approx(best, rel=1e-5)


def test_a_label_left_as_it_is_fails_a_job_whose_updates_are_cut(tmp_path: Path) -> None:
    rows = awkward(tmp_path)
    rows.data = {"standardize_label": False}
    report = rows.run()
    assert report["state"] == "failed"
    assert report["rounds"] == 2
    assert "% of the entries of the parties' updates were beyond params.clip_range (8)" in report["reason"]
    assert "standardise the label (data.standardize_label)" in report["reason"]
    # Whoever watches knows after the first round.
    assert "of the entries of the updates of round 1 were" in rows.notices[0]


def test_a_model_worse_than_the_mean_says_so_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fedbus.cli.report import print_report

    # Steps so long that the loss grows.
    rows = awkward(tmp_path, rounds=3, learning_rate=1.5, batch_size=40)
    report = rows.run()
    assert report["state"] == "succeeded", report
    assert report["best_model"] == 0
    assert "The last model is worse than always predicting the mean of the label" in report["warnings"][0]
    assert "after round 0, has" in report["warnings"][0]
    capsys.readouterr()
    print_report(registry.read_report(report))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("warning: The last model is worse")
    names = [line.split("  ")[0] for line in lines]
    assert names.index("test, best model (after round 0)") + 1 == names.index("test, last model (after round 3)")
