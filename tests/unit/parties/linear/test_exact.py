"""Products of integer matrices against Python's own integers, and bases of columns against what they are to be."""

from __future__ import annotations

import numpy as np
import pytest

from parties.linear.basis import Basis
from parties.linear.exact import Products


@pytest.mark.parametrize("bits", [1, 17, 18, 36, 52, 61])
@pytest.mark.parametrize("rows", [1, 7, 20_000])
def test_products_are_exact(bits: int, rows: int) -> None:
    random = np.random.default_rng(bits)
    columns = 3 if rows > 1000 else 5
    matrix = random.integers(-(2**bits), 2**bits, size=(rows, columns), endpoint=True)
    matrix[0] = 2**bits
    expected = matrix.T.astype(object) @ matrix.astype(object)
    products = Products.of(matrix)
    assert [products.row(number) for number in range(columns)] == expected.tolist()
    vector = random.integers(-(2**43), 2**43, size=columns)
    assert products.times(vector) == (expected @ vector.astype(object)).tolist()
    assert products.part(2).times(vector[:2]) == (expected[:2, :2] @ vector[:2].astype(object)).tolist()


@pytest.mark.parametrize("intercept", [False, True])
def test_a_basis_is_orthogonal_and_spans_the_columns(intercept: bool) -> None:
    random = np.random.default_rng(0)
    columns = random.normal(size=(50, 3))
    columns[:, 2] = columns[:, 0] + 1e-6 * columns[:, 2]
    features = np.column_stack([columns, np.ones(50)]) if intercept else columns
    basis = Basis.of(features, ["a", "b", "c"], l2=0.5, least_norm=False)
    multiplied = features @ basis.transform
    np.testing.assert_allclose(multiplied.T @ multiplied / 50, np.eye(features.shape[1]), atol=1e-8)
    assert basis.cut == 0
    # The ridge of weights T v, without the intercept, is the sum of penalty * v^2.
    values = random.normal(size=features.shape[1])
    weights = (basis.transform @ values)[:3]
    assert basis.penalty @ values**2 == pytest.approx(0.5 * weights @ weights, rel=1e-6)


def test_columns_that_follow_from_others_are_named_and_cut() -> None:
    random = np.random.default_rng(0)
    a, b, c = random.normal(size=(3, 80))
    features = np.column_stack([a, b, a - 2 * b, c, c])
    basis = Basis.of(features, ["a", "b", "sum", "c", "copy"], l2=0.0, least_norm=False)
    assert basis.cut == 2
    assert basis.dependent == {"sum": ["a", "b"], "copy": ["c"]}
    assert np.count_nonzero(basis.transform.any(axis=0)) == 3
    # Of all weights that predict the same, those of the basis are the least.
    target = features @ [1.0, 1.0, 1.0, 1.0, 1.0]
    values = (features @ basis.transform).T @ target / 80
    least = np.linalg.lstsq(features, target, rcond=None)[0]
    np.testing.assert_allclose(basis.transform @ values, least, atol=1e-12)
