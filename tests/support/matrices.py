"""Matrices of integers for property tests of multi-exponentiation: any shape, also empty, and cells of every size."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st


@st.composite
def matrices(draw: st.DrawFn) -> np.ndarray:
    rows, columns, bits = draw(st.integers(0, 12)), draw(st.integers(0, 5)), draw(st.sampled_from([1, 3, 8, 16, 63]))
    cell = st.one_of(st.just(0), st.integers(-(2**bits), 2**bits - 1))
    cells = draw(st.lists(cell, min_size=rows * columns, max_size=rows * columns))
    return np.array(cells, dtype=np.int64).reshape(rows, columns)
