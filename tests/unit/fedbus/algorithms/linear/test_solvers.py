"""What there is of each solver is there of all of them."""

from __future__ import annotations

import coordinator.linear.side as coordinator
import parties.linear.side as party
from fedbus.algorithms.linear.plan import EPOCHS
from fedbus.algorithms.linear.spec import SOLVERS


def test_every_solver_has_both_sides_and_a_usual_length() -> None:
    assert set(party._SOLVERS) == set(coordinator._TRAIN) == set(EPOCHS) == set(SOLVERS)
