"""Gaps are counted for the report:
cells without a value, cells with a level that training did not know, and held-out rows that training had.

They are counted for the rows to train on and for held-out rows apart: a model that looks worse on held-out rows than it
is may owe it to cells that were filled there, or to levels that its training rows do not have.

Of the rows to train on and of held-out rows apart: a model that looks worse on held-out rows than it is may owe it to
cells that were filled there, or to levels that its training rows do not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import structlog

from parties.data import ids
from parties.data.recoding import Recoding
from parties.data.table import Table

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Gaps:
    """Counts of cells by column, of those columns that have such cells.

    Attributes:
        train: cells that were filled in the rows to train on.
        test: cells that were filled in held-out rows.
        unknown: cells of held-out rows with a level that the training rows do not have.
        seen: held-out rows whose ids are ids of training rows, as the party with the label counts them.
        held_out: rows.
    """

    train: Mapping[str, int] = field(default_factory=dict)
    test: Mapping[str, int] = field(default_factory=dict)
    unknown: Mapping[str, int] = field(default_factory=dict)
    seen: int = 0
    held_out: int = 0

    @classmethod
    def of(cls, train: Table, test: Table | None, recoding: Recoding) -> Gaps:
        """Count the gaps of tables that are not recoded yet.

        Args:
            recoding: what becomes of their columns; levels that it lists are known, whether or not a row has them.
        """
        if test is None:
            return cls(filled(train))
        seen = 0 if test.label is None else ids.seen([train.ids], [test.ids])
        return cls(filled(train), filled(test), _unknown(train, test, recoding), seen, len(test))

    def counts(self) -> dict[str, int]:
        """Return what the report tells of the gaps, which is numbers alone."""
        return {
            "missing_cells": sum(self.train.values()),
            "test_missing_cells": sum(self.test.values()),
            "test_unknown_levels": sum(self.unknown.values()),
            "test_training_ids": self.seen,
        }

    def tell(self, train: str, test: str) -> None:
        """Name the columns in the party's own log, and warn there of held-out rows that training had.

        Args:
            train, test: the names of the files.
        """
        if self.train:
            log.info("missing cells are filled", file=train, columns=dict(self.train))
        if self.test:
            log.info("missing cells of held-out rows are filled", file=test, columns=dict(self.test))
        if self.unknown:
            log.info("held-out rows have levels that training rows lack", file=test, columns=dict(self.unknown))
        if self.seen:
            log.warning(
                "held-out ids are ids of training rows: scores on them are not of new rows",
                file=test,
                ids=self.seen,
                of=self.held_out,
            )


def filled(table: Table) -> dict[str, int]:
    """Return how many cells of each column are missing, for those columns that have such cells."""
    counts = np.isnan(table.features).sum(axis=0)
    return {name: int(count) for name, count in zip(table.columns, counts, strict=True) if count}


def _unknown(train: Table, test: Table, recoding: Recoding) -> dict[str, int]:
    found = {}
    for number, feature in enumerate(recoding.features):
        levels = test.levels.get(feature.name)
        if levels is None or feature.levels is None:
            continue
        seen = train.features[:, number]
        known = {train.levels[feature.name][int(place)] for place in np.unique(seen[~np.isnan(seen)])}
        known |= {*feature.levels, feature.reference}
        strange = [place for place, level in enumerate(levels) if level not in known]
        if count := int(np.isin(test.features[:, number], strange).sum()):
            found[feature.name] = count
    return found
