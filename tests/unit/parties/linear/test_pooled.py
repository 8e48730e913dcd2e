"""The plaintext reference: exact least squares, and the solver's steps on pooled data."""

from __future__ import annotations

import numpy as np
import pytest

from fedbus.algorithms.vertical.batching import batches, count
from parties.data.table import Scaling
from parties.linear.optimizer import Optimizer
from parties.scores import least_squares, regression_metrics
from places import DATA
from pooled_descent import gradient_descent
from reader import load


@pytest.fixture
def problem() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(7)
    features = random.normal(size=(120, 5))
    label = features @ np.array([1.0, -2.0, 0.5, 0.0, 3.0]) + 4.0 + random.normal(scale=0.3, size=120)
    return features, label


def momentum(_weights: int) -> Optimizer:
    return Optimizer.create("momentum", 0.2, 0.5)


@pytest.mark.parametrize(
    ("rows", "size", "expected"),
    [
        (10, 4, [(0, 4), (4, 10)]),
        (11, 4, [(0, 4), (4, 11)]),
        (1001, 1000, [(0, 1001)]),
        (1999, 1000, [(0, 1999)]),
        (2000, 1000, [(0, 1000), (1000, 2000)]),
        (3, 1, [(0, 1), (1, 2), (2, 3)]),
        (1, None, [(0, 1)]),
        (8, 4, [(0, 4), (4, 8)]),
        (8, 8, [(0, 8)]),
        (8, 9, [(0, 8)]),
        (8, None, [(0, 8)]),
        (0, None, []),
        (0, 3, []),
    ],
)
def test_batches(rows: int, size: int | None, expected: list[tuple[int, int]]) -> None:
    assert batches(rows, size) == expected
    assert count(rows, size) == len(expected)


@pytest.mark.parametrize(("rows", "size"), [(5, 0), (5, -1), (-1, None)])
def test_batches_of_no_rows(rows: int, size: int | None) -> None:
    with pytest.raises(ValueError, match="batch size"):
        batches(rows, size)


@pytest.mark.parametrize("size", [*range(1, 30), None])
def test_batches_cover_all_rows_and_none_is_short(size: int | None) -> None:
    for rows in range(1, 70):
        spans = batches(rows, size)
        assert [row for start, stop in spans for row in range(start, stop)] == list(range(rows))
        assert min(stop - start for start, stop in spans) >= min(rows, size or rows)


def test_motor_data_reaches_the_published_optimum() -> None:
    guest = load(DATA / "motor_hetero_guest.csv", id_column="idx", label="motor_speed")
    host = load(DATA / "motor_hetero_host.csv", id_column="idx")
    assert len(guest.columns) + len(host.columns) == 4 + 7
    at = {value: position for position, value in enumerate(host.ids)}
    host = host.take(np.array([at[value] for value in guest.ids]))
    assert guest.label is not None
    raw = np.hstack([guest.features, host.features])
    scaled = np.hstack([Scaling.fit(table).apply(table.features) for table in (guest, host)])
    for features in (raw, scaled):
        weights, intercept = least_squares(features, guest.label)
        found = regression_metrics(guest.label, features @ weights + intercept)
        assert found["r2"] == pytest.approx(0.92339, abs=5e-6)
        assert found["rmse"] == pytest.approx(0.27925, abs=5e-6)


def test_metrics_against_values_by_hand() -> None:
    found = regression_metrics(np.array([1.0, 2.0, 3.0, 6.0]), np.array([1.0, 2.0, 5.0, 6.0]))
    assert found == {"mse": 1.0, "rmse": 1.0, "r2": pytest.approx(1 - 1 / 3.5)}
    # Of 0.1 the variance is not quite zero in binary fractions: R2 would be -1e31.
    assert regression_metrics(np.full(10, 0.1), np.zeros(10))["r2"] is None
    with pytest.raises(ValueError, match="same length"):
        regression_metrics(np.ones(3), np.ones((3, 1)))


@pytest.mark.parametrize("l2", [0.0, 0.5])
def test_least_squares_is_where_the_gradient_vanishes(problem: tuple[np.ndarray, np.ndarray], l2: float) -> None:
    features, label = problem
    weights, intercept = least_squares(features, label, l2)
    residual = features @ weights + intercept - label
    assert np.abs(features.T @ residual / len(label) + l2 * weights).max() < 1e-12
    assert abs(residual.mean()) < 1e-12


def test_ridge_does_not_penalise_the_intercept() -> None:
    # One column (-1, 1) and labels (9, 11): w = 1 / (1 + l2), b = 10 whatever the ridge.
    weights, intercept = least_squares(np.array([[-1.0], [1.0]]), np.array([9.0, 11.0]), l2=3.0)
    assert weights.tolist() == pytest.approx([0.25])
    assert intercept == pytest.approx(10.0)


def test_two_rounds_by_hand() -> None:
    # Guest column (1, 3), host column (2, 0), label (1, 5); one batch a row, learning rate 0.1, l2 = 1, no momentum.
    # Round 1: d = -1; gradients -1, -1 (b), -2. Round 2: weights .1, .1, .2: d = .3 + .1 - 5 = -4.6.
    course = gradient_descent(
        [np.array([[1.0], [3.0]]), np.array([[2.0], [0.0]])],
        np.array([1.0, 5.0]),
        make_optimizer=lambda _: Optimizer.create("momentum", 0.1, 0.0),
        batches=batches(2, 1),
        epochs=1,
        l2=1.0,
    )
    assert course.losses == pytest.approx((0.5, 4.6**2 / 2 + (0.1**2 + 0.2**2) / 2))
    assert course.weights.tolist() == [pytest.approx([0.1, 0.2]), pytest.approx([0.1 + 1.38 - 0.01, 0.2 - 0.02])]
    assert course.intercepts.tolist() == pytest.approx([0.1, 0.1 + 0.46])


@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_gradient_descent_converges_to_least_squares(problem: tuple[np.ndarray, np.ndarray], l2: float) -> None:
    features, label = problem
    blocks = [features[:, :2], features[:, 2:]]
    course = gradient_descent(blocks, label, make_optimizer=momentum, batches=batches(120, None), epochs=150, l2=l2)
    weights, intercept = least_squares(features, label, l2)
    assert len(course.losses) == 150
    assert np.abs(course.weights[-1] - weights).max() < 1e-9
    assert course.intercepts[-1] == pytest.approx(intercept, abs=1e-9)
    residual = features @ weights + intercept - label
    minimum = residual @ residual / (2 * len(label)) + l2 / 2 * weights @ weights
    assert course.losses[-1] == pytest.approx(minimum, rel=1e-12)


def test_who_owns_a_column_does_not_matter(problem: tuple[np.ndarray, np.ndarray]) -> None:
    features, label = problem
    courses = [
        gradient_descent(blocks, label, make_optimizer=momentum, batches=batches(120, 50), epochs=3)
        for blocks in ([features], [features[:, :1], features[:, 1:3], features[:, 3:]])
    ]
    assert courses[0].weights.shape == (6, 5)
    assert np.allclose(courses[0].weights, courses[1].weights, rtol=0, atol=1e-12)
    assert np.allclose(courses[0].intercepts, courses[1].intercepts, rtol=0, atol=1e-12)
