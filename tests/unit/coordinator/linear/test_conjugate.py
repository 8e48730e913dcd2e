"""What the coordinator derives from sums alone, against the same method with vectors in hand."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from layouts import gram_layout

from coordinator.linear.conjugate import MOST_LACK, Conjugate
from fedbus import codec
from fedbus.algorithms.linear.layout import Layout


def descend(matrix: np.ndarray, right: np.ndarray, layout: Layout) -> tuple[np.ndarray, Conjugate]:
    """The method on a matrix, told by `Conjugate` what to do."""
    weights, residual, direction = np.zeros_like(right), right, right
    state = Conjugate.begin(layout, 0.0, float(right @ right), 1.0)
    for _ in range(100):
        assert np.abs(weights if state.check else direction).max() <= 2.0**state.exponent
        if state.check:
            residual = direction = right - matrix @ weights
            if not state.checked(float(residual @ residual), last=False):
                return weights, state
            continue
        product = matrix @ direction
        length = state.step(float(direction @ product))
        weights, residual = weights + length * direction, residual - length * product
        direction = residual + state.turn(length, float(residual @ residual), last=False) * direction
        # As it is between two rounds, in a checkpoint.
        state = Conjugate(**codec.unpack(codec.pack(state.to_map())))
    raise AssertionError("it does not end")


@pytest.mark.parametrize("least", [0.5, 1e-3, 1e-8])
def test_solution_and_eigenvalues(least: float) -> None:
    random = np.random.default_rng(0)
    vectors = np.linalg.qr(random.normal(size=(6, 6)))[0]
    values = np.array([1.0, 1.9, 0.7, 1.2, 2 - least, least])
    matrix = vectors @ np.diag(values) @ vectors.T
    right = vectors @ (np.sqrt(values) * [0.3, 0.2, 0.4, 0.1, 0.3, 0.5])
    weights, state = descend(matrix, right, gram_layout())
    assert state.reached
    assert state.smallest == pytest.approx(least, rel=1e-3)
    assert state.largest == pytest.approx(values.max(), rel=1e-3)
    assert state.reach >= np.linalg.norm(weights)
    left = right - matrix @ weights
    assert left @ np.linalg.solve(matrix, left) < 1e-12


def test_bits_that_are_wanted_grow_with_the_condition() -> None:
    wanted = []
    for smallest in (1e-2, 1e-14, 1e-16, 1e-17, 1e-24):
        state = Conjugate.begin(gram_layout(), 0.0, 1e-30, 1.0)
        state.smallest, state.largest = smallest, 2.0
        wanted.append(state.bits_wanted())
    bits = gram_layout().bits
    assert wanted[0] == bits
    assert bits < wanted[2] < wanted[3] <= 40  # type: ignore[operator]
    assert wanted[4] is None
    assert state.lack() > MOST_LACK


def test_a_unit_that_no_number_has_is_refused() -> None:
    from fedbus.algorithms.linear.messages import Turn

    with pytest.raises((ValueError, msgspec.ValidationError), match="exponent"):
        Turn(0.0, 10**9, "direction", loss=0.0, converged=False).check()


def test_weights_of_an_earlier_pass_are_not_taken_for_a_solution_because_they_are_large() -> None:
    """Their rounding hides a residual in a direction that hardly varies, where it costs most."""
    state = Conjugate.begin(gram_layout(), 0.0, 1.0, 1.0)
    state.go_on(1e9)
    gain = state._rounding
    assert gain > 1e6 * state.target
    assert state.checked(gain, last=False)
    length = state.step(gain)
    state.turn(length, state.target / 2, last=False)
    # Rounds have got below it, and weights cannot be told apart any closer.
    assert state.check
    assert not state.checked(gain, last=False)
    assert state.reached
    late = Conjugate.begin(gram_layout(), 0.0, 1.0, 1.0)
    late.go_on(1e9)
    assert not late.checked(gain, last=True)
    assert not late.reached
