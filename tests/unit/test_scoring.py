"""Scores of predictions: in the label's unit, and none where there is nothing to score."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from parties.scoring import scores


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
