"""What a party file says of a table that it offers to jobs: which columns, and what becomes of their cells."""

from __future__ import annotations

import enum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fedbus.errors import ConfigError


class DateUnit(enum.StrEnum):
    """The unit in which dates are counted."""

    microseconds: float

    def __new__(cls, name: str, microseconds: float) -> DateUnit:
        unit = str.__new__(cls, name)
        unit._value_ = name
        unit.microseconds = microseconds
        return unit

    DAYS = "days", 86_400e6
    HOURS = "hours", 3_600e6
    SECONDS = "seconds", 1e6


class DatasetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table that a party offers to jobs.

    Attributes:
        source: The file: CSV, TSV (either compressed by gzip) or Parquet, as its first bytes say. Its path is relative
            to the party file.
        id: The column that identifies a row; it never leaves the party unblinded.
        columns: The features. Where it is left out, these are all columns but the id, the label, those of `exclude`,
            and an index that pandas wrote (`Unnamed: 0`, `__index_level_0__`). All have to be numbers unless one of the
            keys below says otherwise. In a horizontal job all parties have the same ones, in the same order.
        exclude: Columns that are no features.
        missing: What becomes of missing cells. "error" refuses them; "drop" leaves their rows out, before alignment;
            "mean", "median" and "zero" fill in that figure of the column's training rows. "indicator" fills in the mean
            and adds a column `NAME__missing` that says where, for each column that has such cells in training rows.
        indicators: With `missing = "indicator"`: the only columns that get such a column, whether or not a cell is
            missing; all that need one where it is left out. Horizontal jobs need it, as all parties must have the same
            columns.
        dates: Columns of dates (ISO 8601 in CSV), which become numbers, counted from the beginning of 1970, UTC.
        date_unit: The unit in which dates are counted.
        one_hot: Columns of text. One level is the reference; each other one becomes a column `NAME=LEVEL` of ones and
            zeros. The reference is the most frequent level, in a horizontal job the first of `levels`. The codes 1 and
            1.0 are one level.
        max_levels: So many levels of such a column are told apart, the most frequent ones; the others together have the
            column `NAME=other`.
        levels: The levels of columns, as `{ city = ["Bonn", "Trier", "other"] }`. Horizontal jobs need it, as all
            parties must have the same columns; "other" then stands for whatever is not listed, and without it a cell
            that is not listed is an error. In a vertical job all levels of the training rows count where it is left
            out, and only the listed ones where it is given.
        given: The keys that the file gives, to tell them from defaults; no key itself.
    """

    source: str
    id: str
    columns: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    missing: Literal["error", "drop", "mean", "median", "zero", "indicator"] = "error"
    indicators: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    date_unit: DateUnit = DateUnit.DAYS
    one_hot: tuple[str, ...] = ()
    max_levels: Annotated[int, Meta(ge=1, le=1000)] = 20
    levels: dict[str, tuple[str, ...]] = {}
    given: tuple[str, ...] = msgspec.field(default=(), name="(given)")

    def check(self, where: str) -> None:
        """Raise ConfigError where a key has no effect for want of another one.

        Args:
            where: the file and the section.
        """
        for key, needed, there in (
            ("indicators", 'missing = "indicator"', self.missing == "indicator"),
            ("date_unit", "`dates`", bool(self.dates)),
            ("max_levels", "`one_hot`", bool(self.one_hot)),
        ):
            if key in self.given and not there:
                raise ConfigError(f"{where}.{key}: has no effect without {needed}; add that, or take this out")

    @property
    def named(self) -> tuple[str, ...]:
        """Every feature that is named, once."""
        return tuple(dict.fromkeys((*(self.columns or ()), *self.indicators, *self.dates, *self.one_hot, *self.levels)))

    def where(self, column: str) -> str:
        """The key that names a column, for a message."""
        return next(
            f"`{key}`"
            for key in ("columns", "indicators", "dates", "one_hot", "levels")
            if column in (getattr(self, key) or ())
        )
