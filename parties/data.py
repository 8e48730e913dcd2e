"""A party's table: ids, features and, for the guest, the label; and the scaling of its columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedbus.errors import DataError, NoSuchLabel
from parties.source import Source, open_source

# Beyond this a label does not fit the fixed point of the protocol, whatever its scale.
MAX_LABEL = 2.0**42

# Above this a table hardly fits in memory next to its ciphertexts.
MAX_ROWS = 10_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows of one party, in file order until they are aligned.

    Attributes:
        name: the file's name, for messages.
        ids: (rows,) text, each one once.
        columns: (columns,) names of the features.
        features: (rows, columns) float64, finite.
        label: (rows,) float64, finite; None where the party has none.
        file: what it was read from; None where its rows are no longer those of the file.
    """

    name: str
    ids: tuple[str, ...] | list[str]
    columns: tuple[str, ...]
    features: np.ndarray
    label: np.ndarray | None
    file: Source | None = None

    def __post_init__(self) -> None:
        if self.features.shape != (len(self.ids), len(self.columns)):
            raise ValueError("features must have a row for each id and a column for each name")
        if self.label is not None and self.label.shape != (len(self.ids),):
            raise ValueError("the label must have a value for each id")

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, position: int) -> int:
        """The row of data row `position` (from 0) as a spreadsheet shows the file; without one, as if it had one."""
        return position + 2 if self.file is None else self.file.row(position)

    def take(self, positions: np.ndarray) -> Table:
        """The rows at `positions` (integers, (k,)), in that order; alignment uses it to order both sides alike."""
        return Table(
            name=self.name,
            ids=tuple(self.ids[int(position)] for position in positions),
            columns=self.columns,
            features=self.features[positions],
            label=None if self.label is None else self.label[positions],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """Standardisation of each column: (x - mean) / scale.

    Attributes:
        mean: (columns,) float64.
        scale: (columns,) float64, the population standard deviation, above zero.
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, table: Table) -> Scaling:
        """Mean and standard deviation of the rows of `table`, which is to be aligned already.

        Raises:
            DataError: the table has no rows, or a column is constant or too large to be squared.
        """
        if not len(table):
            raise DataError(f"{table.name}: no aligned rows; both sides need rows with the same ids")
        with np.errstate(over="ignore", invalid="ignore"):
            mean, scale = table.features.mean(axis=0), table.features.std(axis=0)
        # Compared as they are: the deviation of a constant that is no exact binary fraction is not quite zero.
        constant = (table.features == table.features[0]).all(axis=0) | (scale == 0.0)
        if constant.any():
            column = table.columns[int(np.argmax(constant))]
            raise DataError(
                f"{table.name}: column '{column}' has the same value in all {len(table)} rows;"
                " leave it out with `exclude`"
            )
        if not np.isfinite(scale).all():
            column = table.columns[int(np.argmin(np.isfinite(scale)))]
            raise DataError(f"{table.name}: column '{column}' has values too large to be standardised; change its unit")
        return cls(mean=mean, scale=scale)

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Standardised copy of `features`, (rows, columns) float64, the columns being those of `fit`."""
        return np.asarray((features - self.mean) / self.scale, dtype=np.float64)


def load(
    source: Path,
    *,
    id_column: str,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    label: str | None = None,
    max_rows: int = MAX_ROWS,
) -> Table:
    """Read a table from a .csv, .tsv (either with .gz) or .parquet file.

    Args:
        source: the file.
        id_column: the column of ids; white space around an id is dropped, whole numbers become decimal text.
        columns: the features, in the order wanted; None is all columns but the id, the label and `exclude`.
        exclude: columns to leave out; each must exist, for a misspelt one would go into the model unnoticed.
        label: the column to predict.
        max_rows: a file with more rows is refused.

    Raises:
        DataError: with file, column, row (as a spreadsheet shows it: the header is row 1) and remedy, never with the
            value of a cell.
    """
    file = open_source(source)
    chosen = _features(file, id_column, columns, exclude, label)
    # One row more than allowed is asked for, which tells a full file from one that is too long.
    ids = _ids(file, id_column, max_rows)
    wanted = chosen if label is None else (*chosen, label)
    values = file.numbers(wanted, len(ids))
    if len(values) != len(ids):
        raise DataError(f"{file.path.name}: changed while it was read; start again when it is complete")
    _check_finite(file, wanted, values, label)
    if label is not None and (np.abs(values[:, -1]) >= MAX_LABEL).any():
        where = f"column '{label}', row {file.row(int(np.argmax(np.abs(values[:, -1]) >= MAX_LABEL)))}"
        raise DataError(f"{file.path.name}: {where}: the label is not below {MAX_LABEL:.2g}; change its unit")
    features = values if label is None else np.ascontiguousarray(values[:, :-1])
    return Table(
        name=file.path.name,
        ids=ids,
        columns=chosen,
        features=features,
        label=None if label is None else values[:, -1].copy(),
        file=file,
    )


def _features(
    file: Source, id_column: str, columns: Sequence[str] | None, exclude: Sequence[str], label: str | None
) -> tuple[str, ...]:
    """The columns that become features, all of them known to be there."""
    for name in (id_column, *(columns or ()), *exclude, *(() if label is None else (label,))):
        if name not in file.names:
            raise (NoSuchLabel if name == label else DataError)(file.missing(name))
    if label == id_column:
        raise DataError(f"{file.path.name}: column '{label}' cannot be both the id and the label; name another label")
    if label in exclude:
        raise DataError(
            f"{file.path.name}: column '{label}' is left out of all jobs by `exclude` and cannot be the label;"
            " name another label, or ask the operator of the data to take it out of `exclude`"
        )
    taken = {**dict.fromkeys(exclude, "excluded"), id_column: "the id column"}
    if label is not None:
        taken[label] = "the label"
    if columns is None:
        chosen = tuple(name for name in file.names if name not in taken)
    else:
        chosen = tuple(columns)
        for number, name in enumerate(chosen):
            if name in taken:
                raise DataError(f"{file.path.name}: column '{name}' is {taken[name]}; remove it from `columns`")
            if name in chosen[:number]:
                raise DataError(f"{file.path.name}: column '{name}' is listed twice; remove one from `columns`")
    if not chosen:
        raise DataError(
            f"{file.path.name}: no feature columns are left beside the id, the label and `exclude`;"
            " add a column or exclude fewer"
        )
    return chosen


def _ids(file: Source, column: str, max_rows: int) -> tuple[str, ...]:
    """The ids, stripped; DataError where there are none, too many, an empty one or the same twice."""
    name = file.path.name
    ids = [(cell or "").strip() for cell in file.ids(column, max_rows + 1)]
    if not ids:
        raise DataError(f"{name}: has columns but no data rows; check that the export was complete")
    if len(ids) > max_rows:
        raise DataError(f"{name}: has more than {max_rows} rows; split the file or raise `max_rows`")
    if "" in ids:
        raise DataError(f"{name}: column '{column}', row {file.row(ids.index(''))}: the id is empty; fill it in")
    if len(set(ids)) < len(ids):
        first: dict[str, int] = {}
        for position, value in enumerate(ids):
            if first.setdefault(value, position) != position:
                rows = f"{file.row(first[value])} and {file.row(position)}"
                raise DataError(f"{name}: column '{column}': rows {rows} have the same id; keep one row for each id")
    return tuple(ids)


def _check_finite(file: Source, columns: Sequence[str], values: np.ndarray, label: str | None) -> None:
    """DataError for the first cell, row by row, that is no finite number."""
    finite = np.isfinite(values)
    if finite.all():
        return
    position, number = divmod(int(np.argmin(finite)), len(columns))
    column = columns[number]
    fault = file.fault(column, position, label=column == label)
    raise DataError(f"{file.path.name}: column '{column}', row {file.row(position)}: the cell {fault}")
