"""The federated model against the same model on the pooled data, round by round and at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedbus.messages.control import Progress
from federation import Federation, held_out, motor, synthetic
from parties import scores
from parties.data import tables
from parties.data.table import Scaling
from parties.linear.pooled import common_rows

EPOCHS = 8


def assert_same_course(federation: Federation, unit: float = 1.0) -> dict[str, Any]:
    """Every loss to 1e-6 of itself, and the final coefficients to 1e-5, as plaintext gradient descent has them.

    Args:
        unit: of the label, and so of coefficients.
    """
    report, positions = federation.run_recording_order()
    assert report["state"] == "succeeded", report
    plain = federation.plaintext(EPOCHS, positions)
    assert report["epochs"] == EPOCHS
    np.testing.assert_allclose(report["loss"], plain.losses, rtol=1e-6)
    weights, intercept = federation.weights(report["job"])
    np.testing.assert_allclose(weights, plain.weights[-1], atol=1e-5 * unit)
    assert intercept == pytest.approx(plain.intercepts[-1], abs=1e-5 * unit)
    return report


@pytest.mark.parametrize("hosts", [1, 2])
@pytest.mark.parametrize(
    "params",
    [{}, {"momentum": 0.0, "l2": 0.3}, {"optimizer": "adam", "learning_rate": 0.05, "l2": 0.01}],
    ids=["momentum", "ridge", "adam"],
)
def test_every_round_equals_plaintext_gradient_descent(tmp_path: Path, hosts: int, params: dict[str, object]) -> None:
    federation = motor(
        tmp_path, hosts=hosts, **{"learning_rate": 0.1, "max_epochs": EPOCHS, "tolerance": 0.0, **params}
    )
    report = assert_same_course(federation)
    assert report["aligned_rows"] == 800
    assert not report["converged"]


def test_watchers_see_each_round_and_the_states_in_order(tmp_path: Path) -> None:
    federation = synthetic(tmp_path, max_epochs=3, tolerance=0.0)
    report = federation.run()
    progress = [event for event in federation.events if isinstance(event, Progress)]
    assert [event.round for event in progress] == [1, 2, 3]
    assert [event.loss for event in progress] == report["loss"]
    states = [event.state for event in federation.events if not isinstance(event, Progress)]
    assert states[-1] == "succeeded"
    assert states.index("running") < states.index("succeeded")


@pytest.mark.parametrize("hosts", [1, 2])
def test_it_converges_to_pooled_least_squares(tmp_path: Path, hosts: int) -> None:
    federation = synthetic(tmp_path, hosts=hosts, learning_rate=0.3, momentum=0.5, tolerance=1e-12, max_epochs=200)
    report = federation.run()
    assert report["converged"], report
    assert report["ended"].startswith("converged: the loss changed by no more than 1e-12 of itself in 3 epochs running")
    assert report["max_coefficient_difference"] < 1e-5
    assert report["train"]["mse"] == pytest.approx(report["pooled_train"]["mse"], rel=1e-6)
    assert report["train"]["r2"] == pytest.approx(report["pooled_train"]["r2"], rel=1e-6)
    assert report["aligned_rows"] == {1: 36, 2: 24}[hosts]


def test_motor_reaches_the_published_optimum(tmp_path: Path) -> None:
    federation = motor(tmp_path, learning_rate=0.83, momentum=0.948, max_epochs=500)
    report = federation.run()
    assert report["converged"]
    assert report["train"]["r2"] == pytest.approx(0.92339, abs=2e-5)
    assert report["train"]["rmse"] == pytest.approx(0.27925, abs=2e-5)


@pytest.mark.parametrize("hosts", [1, 2])
def test_every_mini_batch_equals_plaintext_gradient_descent(tmp_path: Path, hosts: int) -> None:
    federation = synthetic(
        tmp_path, hosts=hosts, batch_size=10, learning_rate=0.05, l2=0.1, max_epochs=EPOCHS, tolerance=0.0
    )
    report = assert_same_course(federation)
    assert report["rounds"] == EPOCHS * (report["aligned_rows"] // 10)


@pytest.mark.parametrize("hosts", [1, 2])
@pytest.mark.parametrize("unit", [1e-6, 5e6, 1e11])
def test_a_label_of_any_unit_equals_plaintext_gradient_descent(tmp_path: Path, hosts: int, unit: float) -> None:
    federation = synthetic(tmp_path, hosts=hosts, unit=unit, l2=0.1, max_epochs=EPOCHS, tolerance=0.0)
    held_out(federation, 12)
    report = assert_same_course(federation, unit)
    weights, intercept = federation.weights(report["job"])
    loaded = [tables.load(party, federation.spec()) for party in federation.settings()]
    scalings = [Scaling.fit(rows) for rows in common_rows([own.train for own in loaded])]
    held = common_rows([own.test for own in loaded if own.test is not None])
    features = np.column_stack([scaling.apply(rows.features) for scaling, rows in zip(scalings, held, strict=True)])
    assert held[0].label is not None
    assert report["test"] == pytest.approx(scores.regression_metrics(held[0].label, features @ weights + intercept))
    assert report["train"]["rmse"] == pytest.approx((2 * report["final_loss"]) ** 0.5)


def test_ridge_converges_to_pooled_ridge(tmp_path: Path) -> None:
    federation = synthetic(tmp_path, l2=0.5, learning_rate=0.3, momentum=0.3, tolerance=1e-12, max_epochs=200)
    report = federation.run()
    assert report["max_coefficient_difference"] < 1e-5
    unpenalised = synthetic(tmp_path, learning_rate=0.3, momentum=0.3, tolerance=1e-12, max_epochs=200).run()
    difference = report["coefficients"]["bank"]["a"]["pooled"] - unpenalised["coefficients"]["bank"]["a"]["pooled"]
    assert abs(difference) > 0.1


def test_divergence_is_a_clear_failure(tmp_path: Path) -> None:
    report = synthetic(tmp_path, learning_rate=50.0, max_epochs=100).run()
    assert report["state"] == "failed"
    assert "diverged" in report["reason"]
    assert "learning_rate" in report["reason"]


def test_a_score_beyond_the_fixed_point_is_a_divergence_by_name(tmp_path: Path) -> None:
    report = synthetic(tmp_path, learning_rate=1e9, max_epochs=100).run()
    assert report["state"] == "failed"
    assert "training diverged: a score is beyond" in report["reason"]
    assert "lower params.learning_rate (now 1e+09)" in report["reason"]


@pytest.mark.parametrize("party", ["shop", "bank"])
def test_a_held_out_row_far_outside_is_named_as_such(tmp_path: Path, party: str) -> None:
    federation = synthetic(tmp_path, max_epochs=1)
    held_out(federation, 12)
    file = tmp_path / f"{party}_test.csv"
    file.write_text(file.read_text().rsplit(",", 1)[0] + ",1e20\n")
    report = federation.run()
    assert report["state"] == "failed"
    assert report["reason"].startswith(f"{party}: the predicted score of a held-out row is beyond")
    assert "check the held-out rows" in report["reason"]


def test_the_reference_itself_is_least_squares() -> None:
    features, label = np.random.default_rng(0).normal(size=(50, 3)), np.arange(50.0)
    weights, intercept = scores.least_squares(features, label)
    design = np.column_stack([features, np.ones(50)])
    np.testing.assert_allclose(np.append(weights, intercept), np.linalg.lstsq(design, label, rcond=None)[0], rtol=1e-9)
