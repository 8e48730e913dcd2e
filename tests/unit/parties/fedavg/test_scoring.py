"""Scores of predictions: in the label's unit, and none where there is nothing to score."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest

from parties.data.table import Table
from parties.fedavg import network
from parties.fedavg.scoring import Scale, predictions, scores
from parties.outputs import Predictions
from rows import Rows


def test_a_regression() -> None:
    found = scores(np.array([[1.0], [2.0], [6.0]]), np.array([1.0, 2.0, 3.0]), "mse")
    assert found == pytest.approx({"mse": 3.0, "rmse": 3.0**0.5, "r2": -3.5})


def test_what_is_undefined_is_none_and_says_why() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        constant = scores(np.array([[1.0], [2.0]]), np.array([0.1, 0.1]), "mse")
        one_class = scores(np.array([[-1.0], [2.0]]), np.array([0.0, 0.0]), "bce")
        of_two = scores(np.array([[0.0, 1.0], [2.0, 1.0]]), np.array([1.0, 1.0]), "cross_entropy")
        of_three = scores(np.array([[0.0, 1.0, 2.0]]), np.array([2.0]), "cross_entropy")
    assert constant["r2"] is None
    assert constant["undefined"] == {"r2": "the label is the same in all these rows"}
    assert one_class == {"accuracy": 0.5, "auc": None, "undefined": {"auc": "all these rows are of class 0"}}
    assert of_two == {"accuracy": 0.5, "auc": None, "undefined": {"auc": "all these rows are of class 1"}}
    assert of_three == {"accuracy": 1.0}


def test_two_classes() -> None:
    found = scores(np.array([[-1.0], [0.5], [2.0], [-0.5]]), np.array([0.0, 0.0, 1.0, 1.0]), "bce")
    assert found == {"accuracy": 0.5, "auc": 0.75}


TABLE = Table("t.csv", ["p", "q"], ("a", "b"), np.array([[1.0, 2.0], [3.0, -5.0]]), np.array([1.0, 0.0]))
AS_IS = Scale(np.zeros(2), np.ones(2), 0.0, 1.0)


def predicted(folder: Path, loss: str, biases: list[float], scale: Scale = AS_IS) -> Predictions:
    """Of a network of one layer whose weights are all 1, with these biases."""
    layers = f"[{{ linear = {len(biases)} }}]"
    spec = Rows(folder, "y", ["bob", "alice"], layers=layers, params={"loss": loss}).spec()
    weights = network.weights(network.build(spec.model, 2, 1))
    weights.flat[:] = [*biases, *[1.0] * 2 * len(biases)]
    return predictions(spec, weights, scale, TABLE)


def test_predictions_are_in_the_label_s_unit(tmp_path: Path) -> None:
    scale = Scale(np.array([1.0, 0.0]), np.array([2.0, 1.0]), 100.0, 10.0)
    found = predicted(tmp_path, "mse", [0.5], scale)
    assert (found.ids, found.label.tolist()) == (["p", "q"], [1.0, 0.0])
    assert found.scores.tolist() == [100.0 + 10.0 * 2.5, 100.0 + 10.0 * -3.5]


def test_predictions_of_classes_are_probabilities(tmp_path: Path) -> None:
    assert predicted(tmp_path, "bce", [0.0]).scores == pytest.approx(1 / (1 + np.exp([-3.0, 2.0])))
    assert predicted(tmp_path, "bce", [-1e4]).scores.tolist() == [0.0, 0.0]
    found = predicted(tmp_path, "cross_entropy", [0.0, math.log(3.0), -1e4])
    assert found.scores.tolist() == [1.0, 1.0]
    assert found.probabilities == pytest.approx(np.array([[0.25, 0.75, 0.0]] * 2), abs=1e-6)
