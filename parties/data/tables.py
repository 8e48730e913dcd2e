"""These are the tables that a party brings to a job, by the names in its own file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

import msgspec
import structlog

from fedbus.datasets import DatasetSettings
from fedbus.errors import ConfigError, DataError, JobRefused
from fedbus.job import JobSpec
from fedbus.settings import PartySettings
from parties.data import reading, table
from parties.data.gaps import Gaps
from parties.data.recoding import Recoding
from parties.data.source import Source, open_source

log = structlog.get_logger()

# What held-out rows have of their own, and what is held to the training rows' columns in place of their keys.
_APART = ("source", "id", "columns", "exclude")
# Of a table whose columns are those of the model.
_AS_IT_IS = DatasetSettings(source="", id="")


@dataclass(frozen=True, slots=True)
class Tables:
    """A party's rows to train on, and its held-out rows where the job names some.

    Attributes:
        how: the data set's section of the party file.
        recoding: what was made of the columns; None where that takes the rows in common.
        gaps: cells that were filled, where the recoding is done; of a vertical job the rows in common tell.
    """

    train: table.Table
    test: table.Table | None = None
    how: DatasetSettings = _AS_IT_IS
    recoding: Recoding | None = None
    gaps: Gaps = field(default_factory=Gaps)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the party's operator should know of how the tables were read."""
        return self.train.notes + (self.test.notes if self.test else ())

    def counts(self, gaps: Gaps) -> dict[str, int]:
        """Return what the report tells of missing cells and unknown levels, which is numbers alone.
        The party's own log names the columns.
        """
        gaps.tell(self.train.name, self.test.name if self.test else "")
        left_out = self.train.left_out + (self.test.left_out if self.test else 0)
        counts = {**gaps.counts(), "left_out_rows": left_out}
        return {name: count for name, count in counts.items() if count}

    def fit(self, train: table.Table) -> Recoding:
        """Find out what becomes of the columns, from the rows in common;
        return nothing new where that is done already.
        """
        return Recoding.fit(train, self.how if self.recoding is None else _AS_IT_IS)


def load(settings: PartySettings, spec: JobSpec) -> Tables:
    """Read the tables of this party's part in a job. The held-out rows have the columns of the others.

    Of a job whose parties have the same columns they are as the network sees them. Of a vertical job columns are
    recoded after alignment, from the rows in common.

    Raises:
        JobRefused: the party has no data set of that name.
        ConfigError: a key of the section has no effect, or the section of the held-out rows says other things of them
            than that of the training rows.
        DataError: the file is missing or wrong.
    """
    part = spec.part_of(settings.name)
    label = spec.label_of(settings.name)
    how = _settings(settings, part.dataset)
    how.check(f"{settings.file}: datasets.{part.dataset}")
    train = reading.load(settings.path(how.source), how, label=label)
    test = None
    if part.test:
        # Read as the training rows are: one path from cells to columns.
        held_out = _settings(settings, part.test)
        source = settings.path(held_out.source)
        _check_like(open_source(source), train)
        used = train.columns if label is None else (*train.columns, label)
        _check_keys(f"{settings.file}: datasets.{part.test}", held_out, train, how, used)
        own = msgspec.structs.replace(how, source=held_out.source, id=held_out.id)
        test = reading.load(source, own, label=label, like=train.columns)
    tables = Tables(train, test, how)
    if not spec.same_columns:
        return tables
    recoding = Recoding.fit(train, how, agreed=True)
    gaps = Gaps.of(train, test, recoding)
    train, test = recoding.apply(train), None if test is None else recoding.apply(test)
    return replace(tables, train=train, test=test, recoding=recoding, gaps=gaps)


def _settings(settings: PartySettings, name: str) -> DatasetSettings:
    dataset = settings.datasets.get(name)
    if dataset is None:
        # The answer travels to all who take part or watch: what else there is, is for this party's own log.
        log.warning("no such data set", dataset=name, datasets=list(settings.datasets))
        near = get_close_matches(name, settings.datasets, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "its log names those that it has"
        raise JobRefused(f"{settings.name} has no data set {name!r} (section [datasets.{name}] of its file); {hint}")
    return dataset


def _check_keys(
    where: str, held_out: DatasetSettings, train: table.Table, like: DatasetSettings, columns: Sequence[str]
) -> None:
    """Raise ConfigError for a key of held-out rows that would have no effect: they are recoded as training rows are.

    Args:
        where: the file, and the held-out rows' section.
        like: the section of the training rows.
        columns: of the training rows, and the label, where the party has one.
    """
    if "columns" in held_out.given:
        for name in train.columns:
            if name not in (held_out.columns or ()):
                raise ConfigError(
                    f"{where}.columns: does not list '{name}', a column of the training rows {train.name}; held-out"
                    " rows have the same columns: leave the key out here"
                )
    for name in held_out.exclude:
        if name in columns:
            raise ConfigError(
                f"{where}.exclude: '{name}' is used of the training rows {train.name}, and held-out rows have the same"
                " columns; take it out here, or exclude it in both"
            )
    for key in held_out.given:
        if key not in _APART and getattr(held_out, key) != getattr(like, key):
            raise ConfigError(
                f"{where}.{key}: differs from what the training rows {train.name} have, as which held-out rows are"
                " treated; leave the key out here, or write it alike in both"
            )


def _check_like(file: Source, train: table.Table) -> None:
    """Raise DataError where held-out rows lack a column of the training rows; which is wrong, nobody can tell."""
    for column in train.columns:
        if column not in file.names:
            near = file.nearest(column)
            instead = f", where the second has {near!r}" if near and near not in train.columns else ""
            raise DataError(
                f"{train.name} and {file.path.name} differ in their columns: only the first has {column!r}{instead}; "
                "training rows and held-out rows need the same names"
            )
