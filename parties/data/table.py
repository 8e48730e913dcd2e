"""A party's table holds ids, features and, at the guest, the label. Its columns are scaled here as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from fedbus.errors import DataError
from parties.data.source import Source

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
        features: (rows, columns) float64, finite, or NaN where a value is missing that is to be filled; of a column of
            text, positions in its levels.
        label: (rows,) float64, finite; None where the party has none.
        file: what it was read from; None where its rows are no longer those of the file.
        levels: of each column of text, as the whole file has them.
        notes: what its operator should know of how it was read.
        left_out: rows of the file that are not here as cells are missing.
    """

    name: str
    ids: tuple[str, ...] | list[str]
    columns: tuple[str, ...]
    features: np.ndarray
    label: np.ndarray | None
    file: Source | None = None
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    left_out: int = 0

    def __post_init__(self) -> None:
        if self.features.shape != (len(self.ids), len(self.columns)):
            raise ValueError("features must have a row for each id and a column for each name")
        if self.label is not None and self.label.shape != (len(self.ids),):
            raise ValueError("the label must have a value for each id")

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, position: int) -> int:
        """Return the number that a spreadsheet shows for data row `position` (from 0);
        without a file, as if there were one.
        """
        return position + 2 if self.file is None else self.file.row(position)

    def take(self, positions: np.ndarray) -> Table:
        """Return the rows at `positions` (integers, (k,)), in that order;
        alignment uses it to order both sides alike.
        """
        return Table(
            name=self.name,
            ids=tuple(self.ids[int(position)] for position in positions),
            columns=self.columns,
            features=self.features[positions],
            label=None if self.label is None else self.label[positions],
            levels=self.levels,
        )

    def with_features(self, columns: tuple[str, ...], features: np.ndarray) -> Table:
        """Return the same rows with other columns, all of numbers."""
        return replace(self, columns=columns, features=features, levels={})


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """The standardisation of each column: (x - mean) / scale.

    Attributes:
        mean: (columns,) float64.
        scale: (columns,) float64, the population standard deviation, above zero.
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, table: Table) -> Scaling:
        """Compute mean and standard deviation of the rows of `table`, which is to be aligned already.

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
        """Return a standardised copy of `features`, (rows, columns) float64, the columns being those of `fit`."""
        return np.asarray((features - self.mean) / self.scale, dtype=np.float64)
