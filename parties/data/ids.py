"""The ids of a table are read in the form in which they are compared with those of others,
and examined for other ways of writing them.

An id is compared as text, after Unicode's form NFC and without blanks around; whole numbers are decimal text. Nothing
else is changed: `007` and `7`, or `A1` and `a1`, may well be two people. That such ids would match if more were changed
is told to those who may know.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np

from fedbus.errors import DataError
from parties.data.cells import MISSING_WORDS, is_exact, is_float, is_missing, may_be_whole, normal
from parties.data.source import Source

# Of a float up to here every whole number is exact, and the next one is another.
_EXACT = 2**53

_INEXACT = "inexact"

_DECIMAL = re.compile(r"(-?[0-9]+)(?:\.0*)?")
_WHOLE = re.compile(r"(-?\d+)\.0*")
# A spreadsheet shows long numbers so, and saves what it shows.
_ROUNDED = re.compile(r"-?\d\.\d+[eE]\+\d+")
_FORMS = (
    ("are written as 1.2E+12", _ROUNDED),
    ("end in .0", re.compile(r"-?\d+\.0+")),
    ("begin with a zero", re.compile(r"0+\w.*", re.DOTALL)),
    ("have upper-case letters", re.compile(r".*[A-ZÀ-ÖØ-Þ].*", re.DOTALL)),
    ("have blanks within", re.compile(r".*\s.*", re.DOTALL)),
)


def read(file: Source, column: str, max_rows: int) -> tuple[Source, tuple[str, ...], int]:
    """Return the file with only those rows that have cells, its ids, and how many rows have none.

    Raises:
        DataError: there are no rows, or too many; an id is missing, not exact, or there twice; the column's type has
            no ids.
    """
    name = file.path.name
    kind = file.type(column)
    if not (is_exact(kind) or may_be_whole(kind)):
        raise DataError(f"{name}: column '{column}' holds ids as {kind}; store ids as text or as whole numbers")
    # One row more than allowed is asked for, which tells a full file from one that is too long.
    cells = file.texts(_expression(file, column), max_rows + 1)
    if len(cells) > max_rows:
        raise DataError(f"{name}: has more than {max_rows} rows; split the file or raise `max_rows`")
    ids = [normal(cell or "") for cell in cells]
    rows = len(ids)
    if file.form.delimiter and "" in ids:
        file, ids = _without_blank_rows(file, column, ids)
    if not ids:
        raise DataError(f"{name}: has columns but no data rows; check that the export was complete")
    if may_be_whole(kind):
        ids = _whole(file, column, ids)
    missing = [position for position, value in enumerate(ids) if is_missing(value)]
    if missing:
        what = "is a missing value" if ids[missing[0]] else "is empty"
        words = f" ({MISSING_WORDS} identify nobody)" if ids[missing[0]] else ""
        raise DataError(
            f"{name}: column '{column}', row {file.row(missing[0])}: the id {what}{words}; fill it in or remove the row"
        )
    if len(set(ids)) < len(ids):
        first: dict[str, int] = {}
        for position, value in enumerate(ids):
            if first.setdefault(value, position) != position:
                both = f"{file.row(first[value])} and {file.row(position)}"
                raise DataError(f"{name}: column '{column}': rows {both} have the same id; keep one row for each id")
    return file, tuple(ids), rows - len(ids)


def folded(text: str) -> str:
    """Return an id without what most often differs between two spellings of one:
    case, blanks, leading zeros and `.0`.
    """
    if text.isascii():
        bare = "".join(text.lower().split())
    else:
        wide = unicodedata.normalize("NFKC", text).casefold()
        bare = "".join(c for c in wide if not c.isspace() and unicodedata.category(c) != "Cf")
    whole = _WHOLE.fullmatch(bare)
    bare = whole[1] if whole else bare
    return bare.lstrip("0") or "0"


def in_common(tables: Sequence[Sequence[str]]) -> tuple[int, int]:
    """Return how many ids all tables have, and how many they would have if ids were `folded`.

    A folded id that a table has more than once counts for nothing: it does not say who is meant.
    """
    exact = len(set(tables[0]).intersection(*tables[1:]))
    if exact == min(map(len, tables)):
        return exact, exact
    counts = [Counter(map(folded, ids)) for ids in tables]
    single = [{value for value, count in each.items() if count == 1} for each in counts]
    return exact, max(exact, len(single[0].intersection(*single[1:])))


def seen(train: Sequence[Sequence[str]], test: Sequence[Sequence[str]]) -> int:
    """Return how many ids that all held-out tables have are ids that all training tables have."""
    return len(set.intersection(*map(set, train), *map(set, test)))


def rounded(ids: Sequence[str]) -> int:
    """Return how many ids are numbers that a spreadsheet has rounded."""
    return sum(_ROUNDED.fullmatch(value) is not None for value in ids)


def forms(ids: Sequence[str]) -> str:
    """Say in what forms a table's ids are written, as a clause; it shows none of them."""
    found = []
    for words, pattern in _FORMS:
        if count := sum(pattern.fullmatch(value) is not None for value in ids):
            found.append(f"{'all' if count == len(ids) else format(count, ',')} {words}")
    lengths = {len(value) for value in ids}
    found.append(f"their length is {min(lengths)}" + (f" to {max(lengths)}" if len(lengths) > 1 else ""))
    return ", ".join(found)


def _without_blank_rows(file: Source, column: str, ids: list[str]) -> tuple[Source, list[str]]:
    """A text file without the rows of separators alone, which spreadsheets leave where cells were deleted."""
    blank = [position for position, value in enumerate(ids) if not value]
    rows = file.joined(f"coalesce(trim({file.name(column)}, ' \t\u00a0'), '') = ''", len(ids))
    if len(rows) != len(blank):
        return file, ids
    skipped = {position for position, row in zip(blank, rows, strict=True) if not row.strip()}
    kept = np.array([position for position in range(len(ids)) if position not in skipped], dtype=np.int64)
    return file.keep(kept), [ids[position] for position in kept]


def _expression(file: Source, column: str) -> str:
    """SQL for the ids as text; a float that is no whole number, or not exact, is the word _INEXACT."""
    name = file.name(column)
    if not is_float(file.type(column)):
        return f"CAST({name} AS VARCHAR)"
    whole = f"CAST(CAST({name} AS BIGINT) AS VARCHAR)"
    exact = f"{name} = trunc({name}) AND abs({name}) < {_EXACT}"
    return f"CASE WHEN isnan({name}) THEN NULL WHEN {exact} THEN {whole} WHEN {name} IS NOT NULL THEN '{_INEXACT}' END"


def _whole(file: Source, column: str, ids: list[str]) -> list[str]:
    """Ids of a type that has fractions, as whole numbers; DataError where one is none, or not exact."""
    found = []
    for position, value in enumerate(ids):
        match = _DECIMAL.fullmatch(value)
        if value and match is None:
            raise DataError(
                f"{file.path.name}: column '{column}', row {file.row(position)}: the id is no whole number, or too"
                f" large to be exact as {file.type(column)}; store ids as text or as whole numbers"
            )
        found.append(match[1] if match else "")
    return found
