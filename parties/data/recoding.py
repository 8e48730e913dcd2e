"""The columns of a table become those of a model here:
missing values are filled, and text becomes columns of ones and zeros.

Everything is fitted on training rows alone, of a vertical job on the rows in common, and kept with the model; held-out
rows are recoded as the training rows were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedbus.datasets import DatasetSettings
from fedbus.errors import DataError
from parties.data.cells import level_of
from parties.data.table import Table

OTHER = "other"


@dataclass(frozen=True, slots=True, eq=False)
class Feature:
    """One column of a table, and what becomes of it.

    Attributes:
        name: of the column.
        fill: a number's value where it is missing; None where none may be.
        indicator: whether a column of its own says where it was missing.
        levels: of a column of text, those that have a column each; None of numbers.
        reference: the level that has none, all its columns being 0.
        other: whether what is none of these has a column.
        shares: of each of `levels` in the training rows: where there is no `other`, an unknown level has these in
            place of 1 and 0, and so counts as the average row does.
        date_unit: of dates, what is counted since the beginning of 1970; "" of others.
    """

    name: str
    fill: float | None = None
    indicator: bool = False
    levels: tuple[str, ...] | None = None
    reference: str = ""
    other: bool = False
    shares: tuple[float, ...] = ()
    date_unit: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that it becomes."""
        indicator = (f"{self.name}__missing",) if self.indicator else ()
        if self.levels is None:
            return (self.name, *indicator)
        names = (*self.levels, *([OTHER] if self.other else []))
        return (*(f"{self.name}={level}" for level in names), *indicator)

    def apply(self, values: np.ndarray, levels: Sequence[str] | None) -> np.ndarray:
        """Compute the columns that it becomes, (rows, columns) float64.

        Args:
            values: (rows,) of the table; of text, positions in `levels`.
        """
        missing = np.isnan(values)
        marks = [missing.astype(np.float64)] if self.indicator else []
        if self.levels is None:
            filled = values if self.fill is None else np.where(missing, self.fill, values)
            return np.column_stack([filled, *marks])
        places = {level: place for place, level in enumerate(self.levels)}
        width = len(self.levels) + self.other
        # What each level of this table is, as a row; the last one is a missing cell.
        rows = np.zeros((len(levels or ()) + 1, width))
        for row, level in enumerate([*(levels or ()), None]):
            if level in places:
                rows[row, places[level]] = 1.0
            elif level == self.reference or (level is None and self.indicator):
                continue
            elif self.other:
                rows[row, -1] = 1.0
            else:
                rows[row] = self.shares
        return np.column_stack([rows[np.where(missing, -1, values).astype(np.int64)], *marks])


@dataclass(frozen=True, slots=True, eq=False)
class Recoding:
    """It says what becomes of each column of a table, in the table's order."""

    features: tuple[Feature, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that a model trains."""
        return tuple(name for feature in self.features for name in feature.columns)

    @property
    def date_units(self) -> tuple[str, ...]:
        """For each of these columns, the unit in which its dates are counted; "" for what is no date."""
        return tuple(each.date_unit if name == each.name else "" for each in self.features for name in each.columns)

    @property
    def references(self) -> tuple[str, ...]:
        """For each of these columns that a level became, the level that has no column; "" for others."""
        return tuple(
            each.reference if each.levels is not None and number < len(each.levels) + each.other else ""
            for each in self.features
            for number in range(len(each.columns))
        )

    @classmethod
    def fit(cls, table: Table, how: DatasetSettings, *, agreed: bool = False) -> Recoding:
        """Find out what `how` asks for, from the rows of `table`, which are to be those that the model is trained on.

        Args:
            agreed: all parties must come to the same columns, so that these cannot follow from a party's own rows.

        Raises:
            DataError: a column without any value, or of text with a single one; or `how` leaves open, or leaves out,
                what parties have to agree on.
        """
        if agreed and how.missing == "indicator" and not how.indicators:
            raise DataError(
                f'{table.name}: with `missing = "indicator"`, parties with the same columns need the same indicators;'
                " list their columns in every party file: indicators = [...]"
            )
        features = []
        for number, name in enumerate(table.columns):
            values, levels = table.features[:, number], table.levels.get(name)
            missing = np.isnan(values)
            if len(values) and missing.all():
                raise DataError(
                    f"{table.name}: column '{name}' has no value in any of the {len(values)} rows to train on; leave it"
                    " out with `exclude`"
                )
            wanted = how.missing == "indicator" and (not how.indicators or name in how.indicators)
            indicator = wanted and (agreed or bool(missing.any()))
            if levels is None:
                unit = str(how.date_unit) if name in how.dates else ""
                features.append(Feature(name, _fill(values[~missing], how.missing), indicator, date_unit=unit))
            elif agreed:
                features.append(_listed(table, name, values, how, indicator=indicator))
            else:
                features.append(_found(table, name, values, how, indicator=indicator))
        recoding = cls(tuple(features))
        for number, name in enumerate(recoding.columns):
            if name in recoding.columns[:number]:
                raise DataError(
                    f"{table.name}: two columns of the model are named '{name}', one of them made of another column;"
                    " rename one"
                )
        return recoding

    def apply(self, table: Table) -> Table:
        """Return the table as the model sees it:
        its columns are those of the recoding, and all its cells are numbers.
        """
        if not table.levels and all(each.fill is None and not each.indicator for each in self.features):
            return table
        parts = [
            feature.apply(table.features[:, number], table.levels.get(feature.name))
            for number, feature in enumerate(self.features)
        ]
        return table.with_features(self.columns, np.column_stack(parts))

    def to_map(self) -> list[dict[str, Any]]:
        """Return the recoding as a map, for the store, with the model."""
        return [{name: getattr(each, name) for name in each.__slots__} for each in self.features]

    @classmethod
    def of(cls, kept: Sequence[Mapping[str, Any]]) -> Recoding:
        """Make the recoding of a stored model from the model's `recoding`."""
        features = []
        for each in kept:
            fields = dict(each)
            for name in ("levels", "shares"):
                fields[name] = None if fields[name] is None else tuple(fields[name])
            features.append(Feature(**fields))
        return cls(tuple(features))


def _fill(values: np.ndarray, missing: str) -> float | None:
    """What stands for a missing number, from those that are there."""
    if missing in ("error", "drop"):
        return None
    if missing == "zero" or not len(values):
        return 0.0
    if missing == "median":
        values = np.sort(values)[(len(values) - 1) // 2 : len(values) // 2 + 1]
    with np.errstate(over="ignore"):
        found = float(np.mean(values))
    # Of very large values the sum is none; divided before it is.
    return found if np.isfinite(found) else float(np.sum(values / len(values)))


def _found(table: Table, name: str, values: np.ndarray, how: DatasetSettings, *, indicator: bool) -> Feature:
    """A column of text whose levels are those of the training rows, or of these those that are listed."""
    counts = _counts(table, name, values)
    listed = _normal(how.levels.get(name, ()))
    # The most frequent first, and of equals by name, so that a restart finds the same.
    order = sorted(counts, key=lambda level: (-counts[level], level))
    kept = [level for level in order if level != OTHER and (level in listed or not listed)][: how.max_levels]
    other = len(order) > len(kept) or (not indicator and bool(np.isnan(values).any()))
    if not kept or len(kept) + other < 2:
        raise DataError(
            f"{table.name}: column '{name}' has the same level in all {len(values)} rows to train on; leave it out with"
            " `exclude`"
        )
    return _feature(name, kept, counts, len(values), other=other, indicator=indicator)


def _listed(table: Table, name: str, values: np.ndarray, how: DatasetSettings, *, indicator: bool) -> Feature:
    """A column of text whose levels all parties list alike."""
    listed = _normal(how.levels.get(name, ()))
    if len(listed) < 2:
        raise DataError(
            f"{table.name}: column '{name}' is text, and parties with the same columns need the same levels of it; list"
            f' two or more in the same order in every party file: levels = {{ {name} = ["...", "{OTHER}"] }}'
        )
    counts = _counts(table, name, values)
    if OTHER not in listed and (strange := [level for level in counts if level not in listed]):
        place = table.levels[name].index(strange[0])
        raise DataError(
            f"{table.name}: column '{name}', row {table.row(int(np.argmax(values == place)))}: `levels` does not list"
            f' the cell; add it in every party file, or "{OTHER}" for whatever is not listed'
        )
    kept = [level for level in listed if level != OTHER]
    return _feature(name, kept, counts, len(values), other=OTHER in listed, indicator=indicator)


def _counts(table: Table, name: str, values: np.ndarray) -> dict[str, int]:
    """How often each level is in some rows, of those that are."""
    known = table.levels[name]
    counts = np.bincount(values[~np.isnan(values)].astype(np.int64), minlength=len(known))
    return {level: int(count) for level, count in zip(known, counts, strict=True) if count}


def _feature(
    name: str, kept: Sequence[str], counts: Mapping[str, int], rows: int, *, other: bool, indicator: bool
) -> Feature:
    reference, *rest = kept
    shares = () if other else tuple(counts.get(level, 0) / max(rows, 1) for level in rest)
    return Feature(name, None, indicator, tuple(rest), reference, other, shares)


def _normal(levels: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(map(level_of, levels)))
