"""What a report says of how solver `gram` ended: each warning where it is due, with its remedy, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
from layouts import gram_layout

from coordinator.linear.conjugate import MOST_LACK, Conjugate
from coordinator.linear.ending import Ending

SQUARE = 0.25


def ending(smallest: float = 1.0, **known: Any) -> Ending:
    """The end of a job of six weights whose columns vary least by this eigenvalue."""
    layout = gram_layout()
    state = Conjugate.begin(layout, 0.0, 1e-30, SQUARE)
    state.smallest, state.largest = smallest, 1.0
    fields = {"unit": 2.0, "measured": 0.01, "expected": 0.01, "most": 7, "unfinished": False, **known}
    return Ending(state=state, layout=layout, **fields)


def test_an_exact_solution_has_no_warning() -> None:
    made = ending()
    assert (made.warnings, made.sentence, made.converged) == ([], "converged", True)


@pytest.mark.parametrize("kept", [False, True])
def test_bits_that_do_not_carry_the_solution_are_told_with_how_many_would(kept: bool) -> None:
    made = ending(1e-16, kept=kept)
    assert made.lack > MOST_LACK
    (told,) = made.warnings
    wanted = made.state.bits_wanted()
    assert "so closely (condition 1.0e+08) that 29 fraction bits do not carry the solution" in told
    assert wanted is not None
    assert wanted > 29
    assert f"raise params.feature_bits to {wanted}, set params.l2" in told
    assert told.endswith("name its own of them.") == kept
    assert (made.sentence, made.converged) == (
        "not converged: the numbers are too coarse for these columns", False,
    )  # fmt: skip


@pytest.mark.parametrize(("measured", "told"), [(0.01 + 9e-8, False), (0.01 + 2e-6, True), (0.01 - 2e-6, True)])
def test_an_error_on_the_rows_that_is_not_the_solver_s_is_told_in_the_label_s_unit(measured: float, told: bool) -> None:
    made = ending(measured=measured)
    assert made.exact is not told
    assert len(made.warnings) == told
    for text in made.warnings:
        assert f"(MSE {measured * 4:.6g}) is not the one of the numbers that the solver worked with (0.04)" in text
        assert "raise params.feature_bits (now 29)" in text


def test_columns_that_count_as_dependent_are_told_unless_bits_are_short_anyway() -> None:
    (told,) = ending(dependent=True).warnings
    assert "agree, or add up to each other, to about 9 digits" in told
    assert "raise params.feature_bits to 40, have one party offer" in told
    assert ending(dependent=True).converged
    (other,) = ending(1e-16, dependent=True).warnings
    assert "do not carry the solution" in other


def test_rounds_that_were_too_few_are_no_convergence() -> None:
    made = ending(cut=True)
    (told,) = made.warnings
    assert told.startswith("7 rounds (params.max_epochs) were too few to find out")
    unfinished = ending(1e-16, unfinished=True)
    assert unfinished.warnings == []
    for each in (made, unfinished):
        assert (each.sentence, each.converged) == ("not converged in 7 rounds (params.max_epochs)", False)
