"""Rows that are to be predicted are brought into the form in which a stored model saw its training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from fedbus.datasets import DateUnit
from fedbus.errors import DataError
from parties.data import cells
from parties.data.cells import Column, Kind
from parties.data.recoding import Feature, Recoding
from parties.data.texts import Texts

_NUMBERS = (bool, int, float, Decimal, np.number, np.bool_)


def encode(recoding: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return the columns of a stored model, (rows, columns) float64, in its order; they are not standardised yet.

    Text is read as the party reads a CSV file. A column of dates takes dates alone, as the party's file does: the unit
    of a number would be a guess.

    Args:
        recoding: of the model, as fedbus.models.read gives it.
        rows: cells by column: numbers, text as a CSV file has it, None where one is missing; of dates text, or dates
            of Python's, numpy's or pandas', in UTC where they have no time zone. Columns that the model does not have
            may be there too.

    Raises:
        DataError: a column is not there, or a cell is no number, or no date, or missing where the model has nothing in
            its place; with its row, the first one being 1.
    """
    features = Recoding.of(recoding).features
    given = {each.name: [_cell(row, each, number) for number, row in enumerate(rows, 1)] for each in features}
    texts = Texts({name: [cell if isinstance(cell, str) else None for cell in given[name]] for name in given})
    # All of them are of one data set, which has one unit.
    unit = next((DateUnit[each.date_unit.upper()] for each in features if each.date_unit), DateUnit.DAYS)
    columns = cells.read(texts, [(each.name, _kind(each)) for each in features], unit, len(rows))
    parts = []
    for feature, column in zip(features, columns, strict=True):
        found = _with_numbers(column, given[feature.name])
        _check(found, feature)
        parts.append(feature.apply(found.values, found.levels))
    return np.column_stack(parts)


def _kind(feature: Feature) -> Kind:
    if feature.date_unit:
        return "date"
    return "number" if feature.levels is None else "level"


def _cell(row: Mapping[str, Any], feature: Feature, number: int) -> str | float | None:
    """A cell as text, or, in a column of numbers, as the number that it is; None where it is missing."""
    if feature.name not in row:
        raise DataError(f"row {number} has no column '{feature.name}', which the model needs")
    cell = row[feature.name]
    # A table of pandas' has NaN.
    if cell is None or (isinstance(cell, float | np.floating) and np.isnan(cell)):
        return None
    if isinstance(cell, np.datetime64):
        return str(cell.astype("datetime64[us]"))
    if isinstance(cell, _NUMBERS) and _kind(feature) == "number":
        try:
            return float(cell)
        except (TypeError, ValueError, OverflowError):
            return np.inf
    # Of a date of Python's this is ISO 8601, as files have it.
    text = str(cell)
    if isinstance(cell, bool | np.bool_) and text not in (feature.reference, *(feature.levels or ())):
        # A truth value of a Parquet file is the level "true", one that a CSV file has is written there as it is.
        text = text.lower()
    # Half a surrogate pair, which no file can hold, is no value and no level that a model knows.
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _with_numbers(column: Column, given: Sequence[str | float | None]) -> Column:
    """A column of which texts alone were read, with the cells that were numbers."""
    places = [place for place, cell in enumerate(given) if isinstance(cell, float)]
    values, missing = column.values.copy(), column.missing.copy()
    values[places], missing[places] = [given[place] for place in places], False
    return Column(column.name, values, missing, column.levels)


def _check(column: Column, feature: Feature) -> None:
    """Raise DataError for the first cell that is wrong, or missing where the model has nothing in its place."""
    lacking = column.missing & (feature.levels is None and feature.fill is None)
    if not (lacking | column.wrong).any():
        return
    row = int(np.argmax(lacking | column.wrong))
    reason = "not a number"
    if lacking[row]:
        reason = "missing, which the model has no value for"
    elif feature.date_unit:
        reason = (
            "no date; write dates as YYYY-MM-DD, with a time as YYYY-MM-DD HH:MM:SS, or give a datetime; a number is"
            f" none (the model counts {feature.date_unit} since 1970)"
        )
    raise DataError(f"row {row + 1}, column '{feature.name}': the cell is {reason}")
