"""Columns of text that lie in no file are read as those of a CSV file are,
so that there is one path from cells to columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parties.data.source import connect


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """It is read by parties.data.cells in place of a file.

    Attributes:
        columns: the cells of each, None where there is none; all of one length.
        path: a name for messages. No file is opened.
    """

    columns: Mapping[str, Sequence[str | None]]
    path: Path = Path("rows")

    def type(self, column: str) -> str:  # noqa: ARG002  # as of a file
        """Return DuckDB's type of a column."""
        return "VARCHAR"

    def name(self, column: str) -> str:
        """Return a column's name in SQL."""
        return f"c{list(self.columns).index(column)}"

    def read(self, expressions: Sequence[str], limit: int) -> list[np.ndarray]:
        """Return an array of each expression's values in at most `limit` rows; see Source.read."""
        listed = ", ".join(f"{expression} AS e{number}" for number, expression in enumerate(expressions))
        cells = ", ".join(f"unnest(CAST(? AS VARCHAR[])) AS c{number}" for number in range(len(self.columns)))
        query = f"SELECT {listed} FROM (SELECT {cells}) LIMIT ?"  # noqa: S608  # expressions are this program's own
        found = connect(self.path).execute(query, [*map(list, self.columns.values()), limit])
        return list(found.fetchnumpy().values())
