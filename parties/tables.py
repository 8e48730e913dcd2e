"""The tables that a party brings to a job, by the names in its own file."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

import structlog

from fedbus.errors import DataError, JobRefused
from fedbus.jobs import JobSpec
from fedbus.settings import PartySettings
from parties import data
from parties.source import Source, open_source

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Tables:
    """A party's rows to train on, and its held-out rows where the job names some."""

    train: data.Table
    test: data.Table | None = None


def load(settings: PartySettings, spec: JobSpec) -> Tables:
    """The tables of this party's part in a job; the held-out rows have the columns of the others.

    Raises:
        JobRefused: the party has no data set of that name.
        DataError: the file is missing or wrong.
    """
    part = spec.part_of(settings.name)
    label = spec.label_of(settings.name)
    train = _table(settings, part.dataset, label)
    return Tables(train, _table(settings, part.test, label, train) if part.test else None)


def _table(settings: PartySettings, name: str, label: str | None, like: data.Table | None = None) -> data.Table:
    dataset = settings.datasets.get(name)
    if dataset is None:
        # The answer travels to all who take part or watch: what else there is, is for this party's own log.
        log.warning("no such data set", dataset=name, datasets=list(settings.datasets))
        near = get_close_matches(name, settings.datasets, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "its log names those that it has"
        raise JobRefused(f"{settings.name} has no data set {name!r} (section [datasets.{name}] of its file); {hint}")
    if like is not None:
        _check_like(open_source(settings.path(dataset.source)), like)
    return data.load(
        settings.path(dataset.source),
        id_column=dataset.id,
        columns=dataset.columns if like is None else like.columns,
        exclude=dataset.exclude if like is None else (),
        label=label,
    )


def _check_like(file: Source, train: data.Table) -> None:
    """DataError where held-out rows lack a column of the training rows: which of the two is wrong, nobody can tell."""
    for column in train.columns:
        if column not in file.names:
            near = file.nearest(column)
            instead = f", where the second has {near!r}" if near and near not in train.columns else ""
            raise DataError(
                f"{train.name} and {file.path.name} differ in their columns: only the first has {column!r}{instead}; "
                "training rows and held-out rows need the same names"
            )
