"""What a party file says of a table that it offers to jobs: which columns, and what becomes of their cells."""

from __future__ import annotations

import enum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fedbus.errors import ConfigError


class DateUnit(enum.StrEnum):
    """In what dates are counted."""

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
        source: a CSV or Parquet file, relative to the party file.
        id: the column that identifies a row; never leaves the party unblinded.
        columns: features; all but id, label and `exclude` where absent.
        missing: what becomes of missing cells: an error; their row is dropped, before alignment; or the mean or the
            median of the column's training rows, or zero, stands for them; "indicator" is the mean, and a column
            `NAME__missing` that says where, for each column that has such cells in training rows.
        indicators: with "indicator", the only columns that have one; where all parties have the same columns, they
            have it whether or not a cell is missing.
        dates: columns of dates, which become numbers: of `date_unit` since the beginning of 1970, UTC.
        one_hot: columns of text, each level of which becomes a column of ones and zeros.
        max_levels: of each such column, the most frequent ones; the others together are one more, `other`.
        levels: of a column, which become columns; needed where all parties have the same columns.
        given: the keys that the file gives, to tell them from defaults; no key itself.
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
        """Raises ConfigError where a key has no effect for want of another one.

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
