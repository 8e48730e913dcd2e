"""What a party prepares for a job."""

from __future__ import annotations

import numpy as np
import pytest

from fedbus.crypto import fixedpoint
from parties.data import MAX_LABEL
from parties.share import score_bits


@pytest.mark.parametrize("size", [1e-7, 0.3, 1.0, 50.0, 5e6, 1e12, MAX_LABEL * 0.999])
def test_scores_fit_with_room_whatever_the_label_s_unit(size: float) -> None:
    bits = score_bits(np.array([size, -size, size / 2]))
    # A thousand times the label fits, and the error of rounding is below 1e-10 of it.
    assert size * 1e3 < 2.0 ** (fixedpoint.MAX_BITS - bits)
    assert 2.0**-bits < size * 1e-10


def test_one_outlier_among_all_rows_that_a_table_may_have_fits() -> None:
    label = np.zeros(10_000_000)
    label[7] = 1e9
    fixedpoint.encode(-label[7] * 100, score_bits(label))


def test_signs_order_and_small_changes_do_not_show() -> None:
    label = np.random.default_rng(5).normal(size=1000)
    assert len({score_bits(part) for part in (label, -label, label[::-1], label * 1.001)}) == 1
    assert score_bits(np.zeros(3)) == 42
