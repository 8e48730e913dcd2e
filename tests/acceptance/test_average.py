"""Federated averaging comes to what plain averaging in one process comes to, whatever hides the updates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedbus.messages.control import Progress
from rows import Rows, boston, breast, synthetic


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rows, dict]:
    rows = boston(tmp_path_factory.mktemp("boston"), rounds=20)
    return rows, rows.run()


def test_boston_equals_plain_averaging_in_every_weight(houses: tuple[Rows, dict]) -> None:
    _, report = houses
    assert report["state"] == "succeeded", report
    assert report["rounds"] == 20
    assert report["max_weight_difference"] < 1e-4


def test_the_report_has_the_course_on_held_out_rows(houses: tuple[Rows, dict]) -> None:
    rows, report = houses
    # Before each round and after the last.
    assert len(report["test_loss"]) == 21
    assert report["test_loss"][-1] == pytest.approx(report["test_mse"], rel=1e-5)
    assert report["test_loss"][-1] < report["test_loss"][0] / 3
    assert report["test_mse"] < 40.09
    events = [event for event in rows.events if isinstance(event, Progress)]
    assert [event.round for event in events] == list(range(1, 21))
    assert [event.test_loss for event in events] == report["test_loss"][:-1]


def test_all_parties_keep_the_same_model_and_the_best_one(houses: tuple[Rows, dict]) -> None:
    rows, report = houses
    models = [rows.model(report["job"], party).flat for party in rows.parties]
    np.testing.assert_array_equal(models[0], models[1])
    assert report["best_model"] == int(np.argmin(report["test_loss"]))


@pytest.mark.parametrize("aggregation", ["masked", "paillier", "plain"])
def test_each_aggregation_gives_the_same_model(tmp_path: Path, aggregation: str) -> None:
    key = {"key_bits": 512, "insecure_for_tests": True} if aggregation == "paillier" else {}
    rows = synthetic(tmp_path, aggregation=aggregation, **key)
    report = rows.run()
    assert report["state"] == "succeeded", report
    assert report["max_weight_difference"] < 1e-6
    assert report["missing"] == [0, 0, 0, 0]


def test_separate_processes_give_what_one_process_gives(tmp_path: Path) -> None:
    for broker in ("memory", "amqp"):
        (tmp_path / broker).mkdir()
    in_memory, on_rabbitmq = synthetic(tmp_path / "memory"), synthetic(tmp_path / "amqp")
    first, second = in_memory.run("memory"), on_rabbitmq.run("amqp")
    assert first["state"] == second["state"] == "succeeded", (first, second)
    np.testing.assert_allclose(
        in_memory.model(first["job"], "bob").flat, on_rabbitmq.model(second["job"], "carol").flat, atol=1e-6
    )
    np.testing.assert_allclose(first["test_loss"], second["test_loss"], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("fedprox", {"mu": 1.0}),
        ("fedavgm", {"learning_rate": 0.5, "momentum": 0.5}),
        ("fedadam", {"learning_rate": 0.05}),
        ("fedyogi", {"learning_rate": 0.05}),
        ("median", {}),
        ("trimmed_mean", {"trim": 0.34}),
    ],
)
def test_every_strategy_learns(tmp_path: Path, name: str, settings: dict) -> None:
    rows = synthetic(tmp_path, rounds=8, aggregation="plain" if name in ("median", "trimmed_mean") else "masked")
    rows.strategy = {"name": name, **settings}
    report = rows.run()
    assert report["state"] == "succeeded", report
    assert report["test_loss"][-1] < 0.8 * report["test_loss"][0]


def test_training_ends_early_and_the_best_model_is_kept(tmp_path: Path) -> None:
    # A learning rate at which the loss soon goes up and down.
    rows = synthetic(tmp_path, rounds=60, patience=3, learning_rate=0.4)
    report = rows.run()
    assert report["state"] == "succeeded", report
    assert report["rounds"] < 60
    assert "params.patience" in report["ended"]
    best = int(np.argmin(report["test_loss"]))
    assert report["best_model"] == best
    assert report["rounds"] - best in (3, 4)
    assert not np.array_equal(rows.model(report["job"], "alice", "best").flat, rows.model(report["job"], "alice").flat)


def test_privacy_is_counted_and_ends_training_before_the_budget_is_passed(tmp_path: Path) -> None:
    rows = synthetic(tmp_path, rounds=50)
    rows.more = "[privacy]\nnoise_multiplier = 2.0\nepsilon = 4.0\ndelta = 1e-3\n"
    report = rows.run()
    assert report["state"] == "succeeded", report
    assert 0 < report["rounds"] < 50
    assert "privacy.epsilon" in report["ended"]
    spent = report["epsilon"]
    assert len(spent) == report["rounds"]
    assert spent == sorted(spent)
    assert spent[-1] <= 4.0
    # The loss of training is told to nobody.
    assert report["loss"] == [None] * report["rounds"]


def test_three_hospitals_classify_as_the_pooled_rows_do(tmp_path: Path) -> None:
    rows = breast(tmp_path, rounds=20, learning_rate=0.1, local_epochs=2)
    report = rows.run()
    assert report["state"] == "succeeded", report
    assert report["pooled_test"]["auc"] > 0.98
    assert abs(report["test"]["auc"] - report["pooled_test"]["auc"]) <= 0.005
    assert report["test_correct"][-1] == pytest.approx(report["test"]["accuracy"], abs=1e-6)


def test_classes_by_cross_entropy(tmp_path: Path) -> None:
    rows = breast(tmp_path, rounds=10, learning_rate=0.1, loss="cross_entropy")
    rows.layers = "[{ linear = 2 }]"
    report = rows.run()
    assert report["state"] == "succeeded", report
    assert report["test"]["auc"] > 0.98
    assert report["max_weight_difference"] < 1e-5
