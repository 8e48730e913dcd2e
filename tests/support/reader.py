"""Tables for tests, as a party file with some keys has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fedbus.datasets import DatasetSettings
from parties.data import reading
from parties.data.table import MAX_ROWS, Table


def settings(path: Path, id_column: str = "id", **how: Any) -> DatasetSettings:
    """The section of a data set; lists as TOML has them."""
    lists = {key: tuple(value) if isinstance(value, list) else value for key, value in how.items()}
    return DatasetSettings(source=str(path), id=id_column, **lists)


def load(path: Path, *, id_column: str = "id", label: str | None = None, max_rows: int = MAX_ROWS, **how: Any) -> Table:
    """The table of a file."""
    return reading.load(path, settings(path, id_column, **how), label=label, max_rows=max_rows)
