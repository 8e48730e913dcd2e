"""What a plan measures before it says how long a job takes."""

from __future__ import annotations

import pytest
from layouts import gram_layout

from fedbus.algorithms import registry
from fedbus.algorithms.linear import plan
from fedbus.algorithms.linear.layout import DIRECTION_BITS


@pytest.mark.parametrize("bits", [24, 40])
def test_columns_are_not_taken_for_directions_of_as_many_bits(monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    """Columns of 40 fraction bits are integers of 43, and directions of 43 bits go with fewer."""
    job = {
        "name": "test",
        "algorithm": "vertical-linear",
        "guest": {"party": "shop", "dataset": "rows", "label": "y"},
        "hosts": [{"party": "bank", "dataset": "rows"}],
        "params": {"feature_bits": bits},
    }
    measured: dict[int, tuple[int, int]] = {}

    def measure(_: int, shapes: dict[int, tuple[int, int]]) -> None:
        measured.update(shapes)
        raise InterruptedError

    monkeypatch.setattr(plan, "measure", measure)
    with pytest.raises(InterruptedError):
        plan.estimate(registry.parse(job), 1000, {"shop": 3, "bank": 4})  # type: ignore[arg-type]
    direction = gram_layout(feature_bits=bits).direction_bits
    assert direction == DIRECTION_BITS[bits == 40]
    assert measured[bits + 3] == (1000, 4)
    assert measured[direction] == (4, 1)
