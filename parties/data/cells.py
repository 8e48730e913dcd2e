"""This module says what the cells of a file mean: numbers, dates, levels of a text column, and missing values.

This is the home of the words that stand for a missing value. They hold for ids, which must have none, as well.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal

import numpy as np

# Not as np.ma, which several threads must not be the first to use.
from numpy import ma

from fedbus.datasets import DateUnit
from fedbus.errors import DataError
from parties.data.source import Source
from parties.data.texts import Texts

# Compared without regard to case and to blanks around. What pandas takes for missing, and what is usual beside it.
MISSING = frozenset(
    {"", "na", "n/a", "#n/a", "#na", "<na>", "null", "none", "nan", "-nan", "nat", "-", "--", ".", "?", "\\n"}
)
MISSING_WORDS = "NA, N/A, NULL, None, NaN, a dash, a point, a question mark and blanks"

_BLANKS = " \t\r\n\v\f\u00a0\u2007\u202f\u3000\ufeff"
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
_ZONE = r".*:.*(Z|[+-][0-9]{2}:?[0-9]{2})"
_OTHER_DATE = re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}([ T].*)?")
_COMMA = re.compile(r"[+-]?\d+(\.\d{3})*,\d+")
_WHOLE = re.compile(r"[+-]?\d+\.0+")
_GROUPED = re.compile(r"[+-]?\d{1,3}([ ,'_\u00a0\u202f]\d{3})+([.]\d+)?")
_ERRORS = ("#div/0!", "#value!", "#ref!", "#name?", "#num!", "#null!")

_INTEGERS = frozenset(
    f"{sign}{size}" for sign in ("", "U") for size in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
)
_FLOATS = frozenset({"FLOAT", "DOUBLE"})
_TEXT = frozenset({"VARCHAR", "UUID"})

Kind = Literal["number", "date", "level"]
# What a cell is that gave no number.
_WRONG, _IS_MISSING, _FALSE, _TRUE = range(4)


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """The cells of a column of a file.

    Attributes:
        name: of the column.
        values: (rows,) float64: the numbers, or positions in `levels`; NaN where there is none.
        missing: (rows,) bool, where the cell is a missing value. What is neither that nor finite is wrong.
        levels: of a text column, in the order of their names; None of others.
    """

    name: str
    values: np.ndarray
    missing: np.ndarray
    levels: tuple[str, ...] | None = None

    @property
    def wrong(self) -> np.ndarray:
        """Which cells are neither a value nor missing: (rows,) bool."""
        return np.asarray(~self.missing & ~np.isfinite(self.values))


def is_exact(kind: str) -> bool:
    """Return whether a type of DuckDB's holds text or whole numbers and nothing else."""
    return kind in _INTEGERS | _TEXT


def is_float(kind: str) -> bool:
    """Return whether a type of DuckDB's is a binary floating point number."""
    return kind in _FLOATS


def may_be_whole(kind: str) -> bool:
    """Return whether a type of DuckDB's has fractions, but its values may be whole numbers."""
    return is_float(kind) or kind.startswith("DECIMAL")


def is_missing(text: str | None) -> bool:
    """Return whether a cell of text stands for a missing value."""
    return text is None or text.strip().casefold() in MISSING


def normal(text: str) -> str:
    """Bring text into the form in which it is compared everywhere: Unicode's form NFC, without blanks around."""
    return unicodedata.normalize("NFC", text).strip()


def level_of(text: str) -> str:
    """Bring a level into the form in which it is compared: that of all text, and whole numbers without the point that a
    gap in a column adds.

    A column of codes with an empty cell is written as 1.0, 2.0 by what knows missing values among floats only; the
    same codes are 1, 2 in a file without a gap.
    """
    form = normal(text)
    return form.partition(".")[0] if _WHOLE.fullmatch(form) else form


def read(file: Source | Texts, columns: Sequence[tuple[str, Kind]], unit: DateUnit, limit: int) -> list[Column]:
    """Read columns of at most `limit` rows of a file, or of rows that come from none.

    Args:
        columns: names and what they are.
        unit: of dates.

    Raises:
        DataError: a column of a type that cannot be what it is to be.
    """
    cells = file.read([_expression(file, name, kind, unit) for name, kind in columns], limit)
    found = []
    for (name, kind), column in zip(columns, cells, strict=True):
        if kind == "level":
            found.append(_levels(name, column))
        else:
            values = np.asarray(ma.filled(column.astype(np.float64), np.nan))
            found.append(Column(name, values, np.isnan(values)))
    # Of text the second look tells what is missing from what is wrong; most columns need none.
    doubtful = [
        number
        for number, (each, (name, kind)) in enumerate(zip(found, columns, strict=True))
        if kind != "level" and file.type(name) in _TEXT and not np.isfinite(each.values).all()
    ]
    if doubtful:
        looks = file.read([_second_look(file.name(found[number].name)) for number in doubtful], limit)
        for number, look in zip(doubtful, looks, strict=True):
            if look.shape != found[number].values.shape:
                raise DataError(f"{file.path.name}: changed while it was read; start again when it is complete")
            found[number] = _decided(found[number], ma.filled(look, _IS_MISSING), columns[number][1])
    return found


def fault(file: Source, name: str, position: int, kind: Kind, *, label: bool = False) -> str:
    """Say what is wrong with a cell that is no finite number, and the remedy, without the cell's value.

    Args:
        label: it is of the column to predict, which cannot be left out.
    """
    cell = file.cell(name, position)
    if is_missing(cell):
        what = "is empty" if cell is None or not cell.strip() else f"is a missing value, as {MISSING_WORDS} are"
        remedy = 'fill it in or remove the row; `missing = "drop"` in the party file removes such rows'
        if not label:
            remedy = (
                "fill it in, remove the row, leave the column out with `exclude`, or say by `missing` in the party"
                " file what is to be done"
            )
        return f"{what}; {remedy}"
    text = (cell or "").strip()
    otherwise = "" if label else ", or leave the column out with `exclude`"
    if kind == "date":
        return f"is no date; write dates as YYYY-MM-DD, with a time as YYYY-MM-DD HH:MM:SS{otherwise}"
    if text.casefold() in _ERRORS:
        return f"is an error of a spreadsheet; mend its formula{otherwise}"
    try:
        finite = "_" in text or isfinite(float(text))
    except ValueError:
        finite = True
    if not finite:
        return f"is infinite or too large; fill it in or remove the row{otherwise}"
    if label:
        return (
            "is not a number, and it is the label: number classes 0, 1, ..., and write other numbers with a point"
            " and without thousands separators"
        )
    return _no_number(text) + otherwise


def _no_number(text: str) -> str:
    if text.casefold() in ("true", "false"):
        return "is true or false in a column of numbers; write 1 or 0"
    if text.endswith("%"):
        return "is not a number, as it has a per cent sign; write the number alone"
    if _OTHER_DATE.fullmatch(text):
        return "is not a number but looks like a date; write dates as YYYY-MM-DD and name the column in `dates`"
    if _COMMA.fullmatch(text) or _GROUPED.fullmatch(text):
        return "is not a number; write numbers with a point and without thousands separators"
    return (
        "is not a number; write numbers with a point and without thousands separators, name a column of text in"
        " `one_hot`"
    )


def _expression(file: Source | Texts, column: str, kind: Kind, unit: DateUnit) -> str:
    """SQL for the values of a column."""
    held, name = file.type(column), file.name(column)
    where = f"{file.path.name}: column '{column}' holds {held}"
    dated = held == "DATE" or held.startswith("TIMESTAMP")
    if kind == "date":
        if held == "VARCHAR":
            trimmed = _trimmed(name)
            # A TIMESTAMP of DuckDB's would drop the zone without a word.
            moment = (
                f"CASE WHEN regexp_full_match({trimmed}, '{_ZONE}') THEN epoch_us(TRY_CAST({trimmed} AS TIMESTAMPTZ))"
                f" ELSE epoch_us(TRY_CAST({trimmed} AS TIMESTAMP)) END"
            )
            return f"CASE WHEN regexp_full_match({trimmed}, '{_DATE}') THEN ({moment}) / {unit.microseconds} END"
        if not dated:
            raise DataError(f"{where}, not dates; take it out of `dates`")
        moment = name if held.endswith("ZONE") else f"TRY_CAST({name} AS TIMESTAMP)"
        # A date that is infinite, or beyond all moments, is wrong and not missing.
        counted = f"CASE WHEN isfinite({moment}) THEN epoch_us({moment}) / {unit.microseconds} END"
        return f"CASE WHEN {name} IS NOT NULL THEN coalesce({counted}, CAST('inf' AS DOUBLE)) END"
    if kind == "level":
        if not (is_exact(held) or may_be_whole(held) or held == "BOOLEAN" or held.startswith("ENUM")):
            raise DataError(f"{where}, not text; take it out of `one_hot` and `levels`")
        return f"CAST({name} AS VARCHAR)"
    if dated:
        raise DataError(f"{where}, not numbers; name it in `dates`, or leave it out with `exclude`")
    if held in _TEXT:
        # DuckDB reads 1_000 as a thousand; in data it is more likely a code than a number.
        return f"CASE WHEN contains({name}, '_') THEN NULL ELSE TRY_CAST({name} AS DOUBLE) END"
    if held not in _INTEGERS | _FLOATS | {"BOOLEAN"} and not held.startswith("DECIMAL"):
        raise DataError(f"{where}, not numbers; convert it, or leave it out with `exclude`")
    return f"TRY_CAST({name} AS DOUBLE)"


def _trimmed(name: str) -> str:
    return f"trim({name}, '{_BLANKS}')"


def _second_look(name: str) -> str:
    """SQL for what a cell of text is that gave no finite number."""
    words = "|".join(map(re.escape, sorted(MISSING)))
    lowered = f"lower({_trimmed(name)})"
    # Not by IN: of a long one DuckDB makes a join, after which rows are in any order.
    return (
        f"CASE WHEN {name} IS NULL OR regexp_full_match({lowered}, '{words}') THEN {_IS_MISSING}"
        f" WHEN {lowered} = 'true' THEN {_TRUE} WHEN {lowered} = 'false' THEN {_FALSE} ELSE {_WRONG} END"
    )


def _decided(column: Column, look: np.ndarray, kind: Kind) -> Column:
    """A column of text after the second look: one that holds true and false alone is 1 and 0."""
    values, missing = column.values, look == _IS_MISSING
    truth = (look == _TRUE) | (look == _FALSE)
    if kind == "number" and truth.any() and (truth | missing).all():
        values = np.where(truth, look == _TRUE, np.nan).astype(np.float64)
    return Column(column.name, np.where(missing, np.nan, values), missing)


def _levels(name: str, column: np.ndarray) -> Column:
    cells = ma.getdata(column).astype(object)
    cells[ma.getmaskarray(column)] = None
    forms = {cell: None if is_missing(cell) else level_of(cell) for cell in set(cells.tolist())}
    levels = tuple(sorted({form for form in forms.values() if form is not None}))
    places = {level: float(place) for place, level in enumerate(levels)}
    codes = {cell: np.nan if form is None else places[form] for cell, form in forms.items()}
    values = np.fromiter((codes[cell] for cell in cells.tolist()), np.float64, len(cells))
    return Column(name, values, np.isnan(values), levels)
