"""A CSV or Parquet file is read through DuckDB, some columns at a time, and its cells are located for error messages.

DuckDB runs in memory, without extensions, without the network, and may open this one file only. CSV cells are read as
text, so that an id keeps its leading zeros and a bad number can be traced to its row.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import structlog

from fedbus.errors import DataError
from fedbus.files import is_file, is_folder
from parties.data.formats import Form, recognise

log = structlog.get_logger()

# A party computes in other processes at the same time: reading must not take every processor.
THREADS = 2

# What pandas calls a column without a name: the index, which `to_csv` writes first and `to_parquet` last.
_UNNAMED = "Unnamed: 0"
_INDEX = re.compile(r"Unnamed: 0(\.\d+)?|__index_level_\d+__")


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A file whose header has been read and found sound.

    Attributes:
        path: absolute path of the file.
        names: the columns, in file order, in Unicode's form NFC.
        types: DuckDB's type of each column; VARCHAR for CSV.
        form: what the file is.
        sql: the columns in SQL.
        index: columns that pandas made of its index.
        kept: positions in the file of the rows that count; None is all.
    """

    path: Path
    names: tuple[str, ...]
    types: tuple[str, ...]
    form: Form
    sql: tuple[str, ...]
    index: frozenset[str] = frozenset()
    kept: np.ndarray | None = None

    def keep(self, positions: np.ndarray) -> Source:
        """Return the same file, of whose rows only those at `positions` count."""
        return replace(self, kept=positions if self.kept is None else self.kept[positions])

    def type(self, column: str) -> str:
        """Return DuckDB's type of a column."""
        return self.types[self.names.index(column)]

    def name(self, column: str) -> str:
        """Return a column's name in SQL."""
        return self.sql[self.names.index(column)]

    def read(self, expressions: Sequence[str], limit: int) -> list[np.ndarray]:
        """Return an array of each expression's values, in at most `limit` rows of the file, for those rows that count.

        Args:
            expressions: SQL of columns by their `name`; without anything that DuckDB makes a join or an aggregate of,
                which does not keep the order of rows.
        """
        cells = list(self._select(expressions, "LIMIT ?", limit).fetchnumpy().values())
        return cells if self.kept is None else [column[self.kept] for column in cells]

    def texts(self, expression: str, limit: int) -> list[str | None]:
        """Return the texts of an expression in at most `limit` rows of the whole file; None where a text is empty."""
        return [row[0] for row in self._select([expression], "LIMIT ?", limit).fetchall()]

    def cell(self, column: str, position: int) -> str | None:
        """Return one cell as text, of a row that counts."""
        at = position if self.kept is None else int(self.kept[position])
        rows = self._select([f"CAST({self.name(column)} AS VARCHAR)"], "LIMIT 1 OFFSET ?", at).fetchall()
        if not rows:
            raise DataError(f"{self.path.name}: changed while it was read; start again when it is complete")
        (cell,) = rows[0]
        return None if cell is None else str(cell)

    def joined(self, where: str, limit: int) -> list[str]:
        """Return all cells of a row as one text, for each row of the file for which `where` holds."""
        joined = f"concat_ws('', {', '.join(self.sql)})"
        return [row[0] for row in self._select([joined], f"WHERE {where} LIMIT ?", limit).fetchall()]

    def row(self, position: int) -> int:
        """Return the number that a spreadsheet shows for data row `position` (from 0): from 1, the header being row 1.

        Blank lines of a CSV file count here, although they are no data.
        """
        at = position if self.kept is None else int(self.kept[position])
        if self.form.delimiter is None:
            return at + 2
        found = -1
        for number, record in enumerate(_records(self.path, self.form), start=1):
            found += number > 1 and bool(record)
            if number > 1 and found == at:
                return number
        raise DataError(f"{self.path.name}: changed while it was read; start again when it is complete")

    def nearest(self, column: str) -> str | None:
        """Find the nearest name to that of a column which the file does not have, for a message.

        In a simulation it travels to all who take part or watch: what else the file has is for the log alone.
        """
        log.warning("no such column", file=self.path.name, column=column, columns=list(self.names))
        lowered = {name.lower(): name for name in self.names}
        near = get_close_matches(column.lower(), list(lowered), n=1)
        return lowered[near[0]] if near else None

    def missing(self, column: str) -> str:
        """Make the message for a column that the file does not have, with the nearest name."""
        near = self.nearest(column)
        hint = f"; did you mean {near!r}?" if near else "; this party's log names the columns that it has"
        if self.form.delimiter == "," and len(self.names) == 1 and any(mark in self.names[0] for mark in ";\t|"):
            hint = "; the columns are not separated by commas: save the file as comma-separated CSV"
        if self.form.delimiter == "\t" and len(self.names) == 1 and "," in self.names[0]:
            hint = "; the columns are not separated by tabs: rename the file to .csv"
        return f"{self.path.name}: no column '{column}'{hint}"

    def _scan(self) -> str:
        """The FROM clause; its one parameter is the path."""
        if self.form.delimiter is None:
            return "read_parquet(?)"
        columns = ", ".join(f"'{name}': 'VARCHAR'" for name in self.sql)
        options = "header=true, quote='\"', escape='\"', comment='', nullstr='', strict_mode=true, null_padding=false"
        options += f", compression='{'gzip' if self.form.gzipped else 'none'}'"
        return f"read_csv(?, auto_detect=false, columns={{{columns}}}, delim='{self.form.delimiter}', {options})"

    def _select(self, expressions: Sequence[str], rest: str, argument: int) -> duckdb.DuckDBPyConnection:
        """Run a query over the file; the expressions are of columns named by `name`, which quotes them."""
        listed = ", ".join(f"{expression} AS e{number}" for number, expression in enumerate(expressions))
        return self.run(f"SELECT {listed} FROM {self._scan()} {rest}", argument)  # noqa: S608

    def run(self, query: str, *arguments: int) -> duckdb.DuckDBPyConnection:
        """Run a query whose first parameter is the path. DuckDB's errors become DataError."""
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
        if ragged and self.form.delimiter:
            width = len(self.sql)
            for number, record in enumerate(_records(self.path, self.form), start=1):
                if record and len(record) != width:
                    return f"row {number} has {len(record)} cells where the header has {width}; add or remove cells"
            return f"{where}has {ragged[2]} cells where the header has {ragged[1]}; add or remove cells"
        if "unterminated quote" in text:
            return f'{where}has a quotation mark that is not closed; write a quotation mark in a cell as ""'
        if "not utf-8" in text:
            return f"{where}is not UTF-8 text; save the file as 'CSV UTF-8'"
        if self.form.gzipped:
            return f"{where}cannot be read as compressed CSV; the file may be incomplete, copy or compress it again"
        kind = "Parquet" if self.form.delimiter is None else "CSV"
        return f"{where}cannot be read as {kind}; the file may be damaged or mix line endings, save it again"


def connect(path: Path) -> duckdb.DuckDBPyConnection:
    """Open an in-memory DuckDB that may read the file at `path` and nothing else: no extension, no network."""
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
    """Find a file, see what it is, and read its header.

    Raises:
        DataError: no such file, not a kind that can be read, empty, unreadable, or columns without a name or with
            the same name.
    """
    path = path.absolute()
    try:
        fault = "" if is_file(path) else _not_found(path)
    except OSError as error:
        fault = f"{path.name}: cannot be read from {path.parent} ({error.strerror})"
    if fault:
        raise DataError(fault)
    form = recognise(path)
    if form.delimiter is not None:
        return _open_text(path, form)
    bare = Source(path, (), (), form, ())
    found = bare.run("DESCRIBE SELECT * FROM read_parquet(?)").fetchall()
    names = tuple(unicodedata.normalize("NFC", row[0]) for row in found)
    _check_names(path, names, "the file's schema")
    index = frozenset(name for name in names if _INDEX.fullmatch(name)) | _pandas_index(bare)
    return Source(
        path, names, tuple(row[1] for row in found), form, tuple(_quoted(row[0], '"') for row in found), index
    )


def _open_text(path: Path, form: Form) -> Source:
    header = [unicodedata.normalize("NFC", name).strip() for name in next(_records(path, form), [])]
    if not any(header):
        raise DataError(f"{path.name}: row 1 is empty; row 1 must hold the names of the columns")
    # By number: DuckDB would rename headers that differ in case only.
    sql = tuple(f"c{number}" for number in range(len(header)))
    if not header[0]:
        header[0] = _UNNAMED
    # A spreadsheet that once had more columns goes on to write their commas.
    width = max(number for number, name in enumerate(header, start=1) if name)
    names = tuple(header[:width])
    _check_names(path, names, "row 1")
    index = frozenset(name for name in names if _INDEX.fullmatch(name))
    source = Source(path, names, ("VARCHAR",) * width, form, sql, index)
    for number, column in enumerate(sql[width:], start=width + 1):
        if source.joined(f"trim({column}) <> ''", 1):
            raise DataError(f"{path.name}: column {number} has no name in row 1, and cells; name it or remove it")
    return source


def _pandas_index(source: Source) -> frozenset[str]:
    """The columns that pandas notes in a Parquet file to be its index."""
    query = "SELECT decode(value) FROM parquet_kv_metadata(?) WHERE decode(key) = 'pandas'"
    try:
        found: Any = [json.loads(row[0]) for row in source.run(query).fetchall()]
        return frozenset(name for each in found for name in each["index_columns"] if isinstance(name, str))
    except (ValueError, KeyError, TypeError, RecursionError):
        # What another program wrote under that name is of no use, and no harm.
        return frozenset()


def _check_names(path: Path, names: Sequence[str], where: str) -> None:
    first: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name:
            raise DataError(f"{path.name}: column {number} has no name in {where}; name it or remove it")
        if name in first:
            raise DataError(f"{path.name}: columns {first[name]} and {number} are both named '{name}'; rename one")
        first[name] = number


def _not_found(path: Path) -> str:
    if is_folder(path):
        return f"{path.name}: is a folder, not a file; name the file in it"
    if not is_folder(path.parent):
        return f"{path.name}: not found, there is no folder {path.parent}; check the path in `source`"
    beside: list[str] = []
    with contextlib.suppress(OSError):
        # A folder that may be entered need not be one that may be listed.
        beside = [entry.name for entry in path.parent.iterdir()]
    near = get_close_matches(path.name, beside, n=1)
    hint = f"did you mean '{near[0]}'?" if near else "check the path in `source`"
    return f"{path.name}: not found in folder {path.parent}; {hint}"


def _records(path: Path, form: Form) -> Iterator[list[str]]:
    """The records of a CSV file as a spreadsheet counts its rows; a blank line is an empty list."""
    opener: Callable[..., object] = gzip.open if form.gzipped else open
    reason = ""
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as stream:  # type: ignore[attr-defined]
            yield from csv.reader(stream, delimiter=form.delimiter or ",")
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
