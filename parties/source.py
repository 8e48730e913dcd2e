"""A CSV or Parquet file read through DuckDB, one column at a time, with its cells located for error messages.

DuckDB runs in memory, without extensions, without the network, and may open this one file only. CSV cells are read as
text, so that an id keeps its leading zeros and a bad number can be traced to its row.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from pathlib import Path

import duckdb
import numpy as np
import structlog

# Not as np.ma, which several threads must not be the first to use.
from numpy import ma

from fedbus.errors import DataError

log = structlog.get_logger()

# A party computes in other processes at the same time: reading must not take every processor.
THREADS = 2

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_PARQUET = (".parquet", ".pq")
_INTEGERS = frozenset(
    f"{sign}{size}" for sign in ("", "U") for size in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
)
_NUMBERS = _INTEGERS | {"FLOAT", "DOUBLE", "BOOLEAN"}
_TEXT = frozenset({"VARCHAR", "UUID"})


@dataclass(frozen=True, slots=True)
class Source:
    """A file whose header has been read and found sound.

    Attributes:
        path: absolute path of the file.
        names: the columns, in file order.
        types: DuckDB's type of each column; VARCHAR for CSV.
        delimiter: of a CSV file; None for Parquet.
    """

    path: Path
    names: tuple[str, ...]
    types: tuple[str, ...]
    delimiter: str | None

    def ids(self, column: str, limit: int) -> list[str | None]:
        """At most `limit` cells of a column as text, in file order; None where empty. DataError for unfit types."""
        kind = self._type(column)
        if kind not in _INTEGERS | _TEXT:
            raise DataError(
                f"{self.path.name}: column '{column}' holds ids as {kind}, which may not be exact;"
                " store ids as text or as whole numbers"
            )
        return [row[0] for row in self._select([f"CAST({self._name(column)} AS VARCHAR)"], "LIMIT ?", limit).fetchall()]

    def numbers(self, columns: Sequence[str], limit: int) -> np.ndarray:
        """At most `limit` rows of some columns, float64 (rows, columns), in file order; NaN where there is no number.

        Raises:
            DataError: a column of a type that has no numbers, such as a date.
        """
        expressions = []
        for column in columns:
            kind, name = self._type(column), self._name(column)
            if kind not in _NUMBERS | _TEXT and not kind.startswith("DECIMAL"):
                raise DataError(
                    f"{self.path.name}: column '{column}' holds {kind}, not numbers;"
                    " convert it, or leave it out with `exclude`"
                )
            cast = f"TRY_CAST({name} AS DOUBLE)"
            # DuckDB reads 1_000 as a thousand; in data it is more likely a code than a number.
            expressions.append(f"CASE WHEN contains({name}, '_') THEN NULL ELSE {cast} END" if kind in _TEXT else cast)
        cells = list(self._select(expressions, "LIMIT ?", limit).fetchnumpy().values())
        values = np.empty((len(cells[0]), len(cells)), dtype=np.float64)
        for number, column_cells in enumerate(cells):
            values[:, number] = ma.filled(column_cells.astype(np.float64), np.nan)
        return values

    def fault(self, column: str, position: int, *, label: bool = False) -> str:
        """What is wrong with a cell that is no finite number, and the remedy; without its value.

        Args:
            label: it is of the column to predict, which cannot be left out.
        """
        fill_in = "fill it in or remove the row"
        if not label:
            fill_in = "fill it in, remove the row, or leave the column out with `exclude`"
        text = f"CAST({self._name(column)} AS VARCHAR)"
        (cell,) = self._select([text], "LIMIT 1 OFFSET ?", position).fetchall()[0]
        if cell is None or not cell.strip():
            return f"is empty; {fill_in}"
        try:
            finite = "_" in cell or isfinite(float(cell))
        except ValueError:
            finite = True
        if not finite:
            return f"is NaN, infinite or too large; {fill_in}"
        if label:
            return (
                "is not a number, and it is the label: number classes 0, 1, ..., and write other numbers with a point"
                " and without thousands separators"
            )
        return (
            "is not a number; write numbers with a point and without thousands separators,"
            " or leave the column out with `exclude`"
        )

    def row(self, position: int) -> int:
        """The row of data row `position` (from 0) as a spreadsheet shows it: from 1, the header being row 1.

        Blank lines of a CSV file count here, although they are no data.
        """
        if self.delimiter is None:
            return position + 2
        found = -1
        for number, record in enumerate(_records(self.path, self.delimiter), start=1):
            found += number > 1 and bool(record)
            if number > 1 and found == position:
                return number
        raise DataError(f"{self.path.name}: changed while it was read; start again when it is complete")

    def nearest(self, column: str) -> str | None:
        """The nearest name to that of a column which the file does not have, for a message.

        In a simulation it travels to all who take part or watch: what else the file has is for the log alone.
        """
        log.warning("no such column", file=self.path.name, column=column, columns=list(self.names))
        lowered = {name.lower(): name for name in self.names}
        near = get_close_matches(column.lower(), list(lowered), n=1)
        return lowered[near[0]] if near else None

    def missing(self, column: str) -> str:
        """The message for a column that the file does not have, with the nearest name."""
        near = self.nearest(column)
        hint = f"; did you mean {near!r}?" if near else "; this party's log names the columns that it has"
        if self.delimiter == "," and len(self.names) == 1 and any(mark in self.names[0] for mark in ";\t|"):
            hint = "; the columns are not separated by commas: save the file as comma-separated CSV"
        return f"{self.path.name}: no column '{column}'{hint}"

    def _type(self, column: str) -> str:
        return self.types[self.names.index(column)]

    def _name(self, column: str) -> str:
        """The column in SQL. CSV columns go by number: DuckDB would rename headers that differ in case only."""
        return f"c{self.names.index(column)}" if self.delimiter else _quoted(column, '"')

    def _scan(self) -> str:
        """The FROM clause; its one parameter is the path."""
        if self.delimiter is None:
            return "read_parquet(?)"
        columns = ", ".join(f"'c{number}': 'VARCHAR'" for number in range(len(self.names)))
        options = "header=true, quote='\"', escape='\"', comment='', nullstr='', strict_mode=true, null_padding=false"
        return f"read_csv(?, auto_detect=false, columns={{{columns}}}, delim='{self.delimiter}', {options})"

    def _select(self, expressions: Sequence[str], rest: str, argument: int) -> duckdb.DuckDBPyConnection:
        """Run a query over the file; the expressions are of columns named by `_name`, which quotes them."""
        listed = ", ".join(f"{expression} AS e{number}" for number, expression in enumerate(expressions))
        return self.run(f"SELECT {listed} FROM {self._scan()} {rest}", argument)  # noqa: S608

    def run(self, query: str, *arguments: int) -> duckdb.DuckDBPyConnection:
        """Run a query whose first parameter is the path; DuckDB's errors become DataError."""
        try:
            return connect(self.path).execute(query, [str(self.path), *arguments])
        except duckdb.Error as error:
            reason = self._translated(str(error))
        # Raised outside the handler: DuckDB's own text shows the line, and with it values of cells.
        raise DataError(f"{self.path.name}: {reason}")

    def _translated(self, text: str) -> str:
        """DuckDB's error in words of ours; its text is searched for known phrases and numbers only."""
        line = re.search(r"CSV Error on Line: (\d+)", text)
        where = f"row {line[1]} " if line else ""
        ragged = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", text)
        if ragged and self.delimiter:
            width = len(self.names)
            for number, record in enumerate(_records(self.path, self.delimiter), start=1):
                if record and len(record) != width:
                    return f"row {number} has {len(record)} cells where the header has {width}; add or remove cells"
            return f"{where}has {ragged[2]} cells where the header has {ragged[1]}; add or remove cells"
        if "unterminated quote" in text:
            return f'{where}has a quotation mark that is not closed; write a quotation mark in a cell as ""'
        if "not utf-8" in text:
            return f"{where}is not UTF-8 text; save the file as 'CSV UTF-8'"
        if self.path.name.lower().endswith(".gz"):
            return f"{where}cannot be read as compressed CSV; the file may be incomplete, copy or compress it again"
        kind = "Parquet" if self.delimiter is None else "CSV"
        return f"{where}cannot be read as {kind}; the file may be damaged or mix line endings, save it again"


def connect(path: Path) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB that may read the file at `path` and nothing else: no extension, no network."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": THREADS,
            "preserve_insertion_order": True,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
        },
    )
    connection.execute(f"SET allowed_paths = [{_quoted(str(path), chr(39))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def open_source(path: Path) -> Source:
    """Find a file, see what it is by its name, and read its header.

    Raises:
        DataError: no such file, not a kind that can be read, empty, unreadable, or columns without a name or with
            the same name.
    """
    path = path.absolute()
    if not path.is_file():
        raise DataError(_not_found(path))
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix not in _DELIMITERS and path.suffix.lower() not in _PARQUET:
        raise DataError(f"{path.name}: not a kind of file that can be read; save it as .csv, .csv.gz, .tsv or .parquet")
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path.name}: the file is empty; it needs a header row and data rows")
        with path.open("rb"):
            pass
    except OSError as error:
        raise DataError(f"{path.name}: cannot be read from {path.parent} ({error.strerror})") from None
    if suffix in _DELIMITERS:
        names = _header(path, _DELIMITERS[suffix])
        return Source(path, names, ("VARCHAR",) * len(names), _DELIMITERS[suffix])
    found = Source(path, (), (), None).run("DESCRIBE SELECT * FROM read_parquet(?)").fetchall()
    return Source(path, tuple(row[0] for row in found), tuple(row[1] for row in found), None)


def _not_found(path: Path) -> str:
    if path.is_dir():
        return f"{path.name}: is a folder, not a file; name the file in it"
    if not path.parent.is_dir():
        return f"{path.name}: not found, there is no folder {path.parent}; check the path in `source`"
    near = get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1)
    hint = f"did you mean '{near[0]}'?" if near else "check the path in `source`"
    return f"{path.name}: not found in folder {path.parent}; {hint}"


def _header(path: Path, delimiter: str) -> tuple[str, ...]:
    names = [name.strip() for name in next(_records(path, delimiter), [])]
    if not any(names):
        raise DataError(f"{path.name}: row 1 is empty; row 1 must hold the names of the columns")
    first: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name:
            raise DataError(f"{path.name}: column {number} has no name in row 1; name it or remove it")
        if name in first:
            raise DataError(f"{path.name}: columns {first[name]} and {number} are both named '{name}'; rename one")
        first[name] = number
    return tuple(names)


def _records(path: Path, delimiter: str) -> Iterator[list[str]]:
    """The records of a CSV file as a spreadsheet counts its rows; a blank line is an empty list."""
    opener: Callable[..., object] = gzip.open if path.name.lower().endswith(".gz") else open
    reason = ""
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as stream:  # type: ignore[attr-defined]
            yield from csv.reader(stream, delimiter=delimiter)
    except UnicodeDecodeError:
        reason = "is not UTF-8 text; save the file as 'CSV UTF-8'"
    except (EOFError, zlib.error, gzip.BadGzipFile):
        reason = "is no complete gzip file; compress it again"
    except (OSError, csv.Error):
        reason = "cannot be read as CSV; the file may be damaged, save it again"
    if reason:
        raise DataError(f"{path.name}: {reason}")


def _quoted(text: str, mark: str) -> str:
    """A name or a string in SQL, its quotation marks doubled."""
    return mark + text.replace(mark, mark * 2) + mark
