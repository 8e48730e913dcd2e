"""Rows to predict, as a stored model sees them: what became of the columns of its training rows becomes of theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedbus.errors import DataError
from parties.data.cells import is_missing, level_of
from parties.data.recoding import Feature, Recoding

_TRUTH = {"true": 1.0, "false": 0.0}


def encode(recoding: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """The columns of a stored model, (rows, columns) float64, in its order; not standardised yet.

    Args:
        recoding: of the model, as fedbus.models.read gives it.
        rows: cells by column: numbers, or text as a CSV file has it, None where one is missing; dates as numbers of the
            data set's `date_unit` since the beginning of 1970. Columns that the model does not have may be there too.

    Raises:
        DataError: a column is not there, or a cell is no number, or missing where the model has nothing in its place;
            with its row, the first one being 1.
    """
    parts = []
    for feature in Recoding.of(recoding).features:
        cells = [_cell(row, feature, number) for number, row in enumerate(rows, 1)]
        if feature.levels is None:
            numbers = [np.nan if cell is None else _number(cell, feature, row) for row, cell in enumerate(cells, 1)]
            parts.append(feature.apply(np.array(numbers), None))
            continue
        texts = [None if cell is None else level_of(str(cell)) for cell in cells]
        levels = sorted({text for text in texts if text is not None})
        places = [np.nan if text is None else float(levels.index(text)) for text in texts]
        parts.append(feature.apply(np.array(places), levels))
    return np.column_stack(parts)


def _cell(row: Mapping[str, Any], feature: Feature, number: int) -> Any:
    """A cell as it is, None where it is missing."""
    if feature.name not in row:
        raise DataError(f"row {number} has no column '{feature.name}', which the model needs")
    cell = row[feature.name]
    # A table of pandas' has NaN.
    missing = is_missing(cell) if cell is None or isinstance(cell, str) else isinstance(cell, float) and np.isnan(cell)
    if missing and feature.levels is None and feature.fill is None:
        raise DataError(f"row {number}, column '{feature.name}': the cell is missing, which the model has no value for")
    return None if missing else cell


def _number(cell: Any, feature: Feature, number: int) -> float:
    """The number that a cell is, as a table is read."""
    text = str(cell).strip()
    try:
        value = _TRUTH[text.casefold()] if text.casefold() in _TRUTH else float(cell)
    except (TypeError, ValueError):
        value = np.nan
    if not np.isfinite(value) or "_" in text:
        raise DataError(f"row {number}, column '{feature.name}': the cell is not a number")
    return float(value)
