"""Differences, multiples and forward products of encrypted vectors against plain integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbus.crypto import algebra
from fedbus.crypto.engine import Engine
from fedbus.crypto.paillier import PrivateKey
from fedbus.errors import InvalidCiphertext, WrongKey

pytestmark = pytest.mark.usefixtures("tier")

numbers = st.integers(-(2**200), 2**200)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(numbers, numbers, st.integers(-(2**62), 2**62)), min_size=1, max_size=4))
def test_differences_and_multiples(private: PrivateKey, rows: list[tuple[int, int, int]]) -> None:
    key = private.public
    a, b = (key.encrypt([row[place] for row in rows], 5) for place in (0, 1))
    assert private.decrypt(algebra.subtract(key, a, b)) == [row[0] - row[1] for row in rows]
    scaled = algebra.scale(key, a, [row[2] for row in rows], 3)
    assert scaled.scale == 8
    assert private.decrypt(scaled) == [row[0] * row[2] for row in rows]


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (7, 3), (40, 2)])
def test_a_forward_product(private: PrivateKey, rows: int, columns: int) -> None:
    random, engine = np.random.default_rng(5), Engine(0)
    matrix = random.integers(-(2**30), 2**30, size=(rows, columns))
    weights = random.integers(-(2**30), 2**30, size=columns)
    product = algebra.forward(engine, private.public, matrix, private.public.encrypt(weights, 4), 6)
    engine.close()
    assert product.scale == 10
    assert private.decrypt(product) == [
        sum(a * b for a, b in zip(row, weights.tolist(), strict=True)) for row in matrix.tolist()
    ]


def test_what_does_not_fit_is_refused(private: PrivateKey, other: PrivateKey) -> None:
    key = private.public
    tensor = key.encrypt([1, 2], 0)
    with pytest.raises(ValueError, match="3 integers"):
        algebra.scale(key, tensor, [1, 2, 3])
    with pytest.raises(WrongKey):
        algebra.subtract(key, tensor, other.public.encrypt([1, 2], 0))
    broken = type(tensor)(tensor.fingerprint, 0, tensor.width, bytes(2 * tensor.width))
    with pytest.raises(InvalidCiphertext):
        algebra.scale(key, broken, [1, 1])
