"""A table is read from a file here: which columns, which rows, and what is wrong with a cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fedbus.datasets import DatasetSettings
from fedbus.errors import DataError, NoSuchLabel
from fedbus.names import listed
from parties.data import cells, ids
from parties.data.cells import Column, Kind
from parties.data.source import Source, open_source
from parties.data.table import MAX_LABEL, MAX_ROWS, Table

# Of the columns that an error names beside the first.
_NAMED = 8


def load(
    source: Path,
    how: DatasetSettings,
    *,
    label: str | None = None,
    like: Sequence[str] | None = None,
    max_rows: int = MAX_ROWS,
) -> Table:
    """Read a table from a .csv, .tsv (either with .gz) or .parquet file.

    Args:
        source: the file.
        how: which columns, and what they are. `exclude` must exist, for a misspelt one would go into the model
            unnoticed.
        label: the column to predict.
        like: the columns of the training rows, for held-out rows.
        max_rows: a file with more rows is refused.

    Raises:
        DataError: with file, column, row (as a spreadsheet shows it: the header is row 1) and remedy, never with the
            value of a cell.
    """
    file = open_source(source)
    _check_there(file, how, label)
    named, notes = _features(file, how, label) if like is None else (tuple(like), [])
    file, rows, blank = ids.read(file, how.id, max_rows)
    if blank:
        notes.append(f"{file.path.name}: {blank:,} {'row' if blank == 1 else 'rows'} without any cell left out")
    if rounded := ids.rounded(rows):
        notes.append(
            f"{file.path.name}: {rounded:,} ids are written as 1.2E+12: a spreadsheet has rounded them, and they may"
            " stand for others too; export them as text"
        )
    wanted = [(name, _kind(how, name)) for name in named]
    if label is not None:
        wanted.append((label, "date" if label in how.dates else "number"))
    read = cells.read(file, wanted, how.date_unit, max_rows + 1)
    if any(len(column.values) != len(rows) for column in read):
        raise DataError(f"{file.path.name}: changed while it was read; start again when it is complete")
    _check(file, wanted, read, label, how.missing)
    there = len(rows)
    if how.missing == "drop":
        file, rows, read, note = _dropped(file, rows, read)
        notes += note
    values = np.column_stack([column.values for column in read])
    if label is not None and (np.abs(values[:, -1]) >= MAX_LABEL).any():
        where = f"column '{label}', row {file.row(int(np.argmax(np.abs(values[:, -1]) >= MAX_LABEL)))}"
        raise DataError(f"{file.path.name}: {where}: the label is not below {MAX_LABEL:.2g}; change its unit")
    return Table(
        name=file.path.name,
        ids=rows,
        columns=named,
        features=values if label is None else np.ascontiguousarray(values[:, :-1]),
        label=None if label is None else values[:, -1].copy(),
        file=file,
        levels={column.name: column.levels for column in read if column.levels is not None},
        notes=tuple(notes),
        left_out=there - len(rows),
    )


def _kind(how: DatasetSettings, name: str) -> Kind:
    """What a column is, as the party file says."""
    if name in how.dates:
        return "date"
    return "level" if name in how.one_hot or name in how.levels else "number"


def _check_there(file: Source, how: DatasetSettings, label: str | None) -> None:
    """Raise DataError where the file lacks the id column or the label."""
    for column in (how.id, *(() if label is None else (label,))):
        if column not in file.names:
            raise (NoSuchLabel if column == label else DataError)(file.missing(column))


def _features(file: Source, how: DatasetSettings, label: str | None) -> tuple[tuple[str, ...], list[str]]:
    """The columns that become features, all of them known to be there, and what is to be noted of the choice."""
    name, named = file.path.name, how.named
    for column in (*named, *how.exclude):
        if column not in file.names:
            raise DataError(file.missing(column))
    if label == how.id:
        raise DataError(f"{name}: column '{label}' cannot be both the id and the label; name another label")
    if label in how.exclude:
        raise DataError(
            f"{name}: column '{label}' is left out of all jobs by `exclude` and cannot be the label;"
            " name another label, or ask the operator of the data to take it out of `exclude`"
        )
    taken = {**dict.fromkeys(how.exclude, "excluded"), how.id: "the id column"}
    for column in named:
        if column in taken:
            raise DataError(f"{name}: column '{column}' is {taken[column]}; remove it from {how.where(column)}")
    if label is not None:
        taken[label] = "the label"
    notes = []
    if how.columns is None:
        index = [column for column in file.names if column in file.index - {*taken, *named}]
        if index:
            notes.append(
                f"{name}: {listed([repr(column) for column in index])} is pandas' index and no feature; to use it all"
                " the same, name it in `columns`"
            )
        chosen = tuple(column for column in file.names if column not in taken and column not in index)
    else:
        chosen = how.columns
        for number, column in enumerate(chosen):
            if column in taken:
                raise DataError(f"{name}: column '{column}' is {taken[column]}; remove it from `columns`")
            if column in chosen[:number]:
                raise DataError(f"{name}: column '{column}' is listed twice; remove one from `columns`")
        for column in named:
            if column not in chosen and column != label:
                raise DataError(
                    f"{name}: column '{column}' is not in `columns`; add it there, or remove it from"
                    f" {how.where(column)}"
                )
    if not chosen:
        raise DataError(
            f"{name}: no feature columns are left beside the id, the label and `exclude`; add a column or exclude fewer"
        )
    return chosen, notes


def _check(
    file: Source, wanted: Sequence[tuple[str, Kind]], read: Sequence[Column], label: str | None, missing: str
) -> None:
    """Raise DataError for the first cell, row by row, that is wrong, or missing where that is an error.

    It also names the other columns that have such cells, so that all of them can be mended at once.
    """
    faults = []
    for column in read:
        refused = missing == "error" or (column.name == label and missing != "drop")
        wrong = column.wrong | column.missing if refused else column.wrong
        faults.append(int(np.argmax(wrong)) if wrong.any() else len(wrong))
    position = min(faults)
    if position == len(read[0].values):
        return
    name, kind = wanted[faults.index(position)]
    reason = cells.fault(file, name, position, kind, label=name == label)
    others = [
        f"'{column}' (row {file.row(found)})"
        for (column, _), found in zip(wanted, faults, strict=True)
        if found < len(read[0].values) and column != name
    ]
    more = [*others[:_NAMED], f"{len(others) - _NAMED} more"] if len(others) > _NAMED else others
    also = f". Such cells are also in {listed(more)}" if others else ""
    raise DataError(f"{file.path.name}: column '{name}', row {file.row(position)}: the cell {reason}{also}")


def _dropped(
    file: Source, rows: tuple[str, ...], read: Sequence[Column]
) -> tuple[Source, tuple[str, ...], list[Column], list[str]]:
    """The rows without a missing cell, and what is to be noted of the others."""
    missing = np.column_stack([column.missing for column in read])
    lost = missing.any(axis=1)
    if not lost.any():
        return file, rows, list(read), []
    where = [f"'{column.name}' {count:,}" for column in read if (count := int(column.missing.sum()))]
    lost_rows = f"{int(lost.sum()):,} of {len(rows):,} rows"
    note = f"{file.path.name}: {lost_rows} are left out for missing cells: in {listed(where)}"
    if lost.all():
        raise DataError(f"{note}; no row is left")
    kept = np.flatnonzero(~lost)
    columns = [Column(c.name, c.values[kept], c.missing[kept], c.levels) for c in read]
    return file.keep(kept), tuple(rows[int(position)] for position in kept), columns, [note]
