"""A file of rows is recognised by its first bytes. Its name only tells commas from tabs, for names are often wrong."""

from __future__ import annotations

import codecs
import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

from fedbus.errors import DataError
from fedbus.files import reason

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_PARQUET = (".parquet", ".pq")
_HEAD_BYTES = 4096

_GZIP = b"\x1f\x8b"
_PARQUET_MAGIC = b"PAR1"
_SAVE = "save the table as CSV or Parquet"
_UTF_8 = "save it as UTF-8; Excel calls that 'CSV UTF-8'"
_NO_TABLES = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an old Excel workbook; save the sheet as 'CSV UTF-8'"),
    (b"PK", "is a zip file; unpack it, and name the file in it"),
    (b"BZh", "is compressed by bzip2; decompress it, or compress it by gzip"),
    (b"\xfd7zXZ", "is compressed by xz; decompress it, or compress it by gzip"),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd; decompress it, or compress it by gzip"),
    (b"7z\xbc\xaf", "is a 7z file; unpack it, and name the file in it"),
    (b"SQLite format 3\0", f"is an SQLite database; {_SAVE}"),
    (b"\x89HDF", f"is an HDF5 file; {_SAVE}"),
    (b"ARROW1", f"is a Feather file; {_SAVE}"),
    (b"FEA1", f"is a Feather file; {_SAVE}"),
    (b"ORC", f"is an ORC file; {_SAVE}"),
    (b"Obj\x01", f"is an Avro file; {_SAVE}"),
    (b"\x93NUMPY", f"is a NumPy file; {_SAVE}"),
    (b"\x80\x04", f"is a pickle, which is never read, as it may run code; {_SAVE}"),
    (b"\x80\x05", f"is a pickle, which is never read, as it may run code; {_SAVE}"),
    (b"%PDF", f"is a PDF document; {_SAVE}"),
    (codecs.BOM_UTF16_LE, f"is UTF-16 text; {_UTF_8}"),
    (codecs.BOM_UTF16_BE, f"is UTF-16 text; {_UTF_8}"),
)
_NO_TABLES_OF_TEXT = (
    (b"<", "is a web page or XML, not a table; fetch the file itself, and look whether a login page came in its place"),
    (b"{", f"is JSON; {_SAVE}"),
    (b"[{", f"is JSON; {_SAVE}"),
)


@dataclass(frozen=True, slots=True)
class Form:
    """It says how a file is to be read.

    Attributes:
        delimiter: of a text file; None for Parquet.
        gzipped: it is compressed by gzip.
    """

    delimiter: str | None
    gzipped: bool = False


def recognise(path: Path) -> Form:
    """Find out what a file is.

    Raises:
        DataError: it cannot be read, is empty, or is something else than CSV and Parquet; says what and the remedy.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise DataError(f"{path.name}: cannot be read from {path.parent} ({reason(error, path)})") from None
    if not head:
        raise DataError(f"{path.name}: the file is empty; it needs a header row and data rows")
    if _is_parquet(head):
        return Form(None)
    gzipped = head.startswith(_GZIP)
    if gzipped:
        head = _unpacked(path)
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    _check_kind(path, head)
    if suffix in _PARQUET:
        raise DataError(f"{path.name}: cannot be read as Parquet; rename it to .csv if it is text, or save it again")
    _check_text(path, head)
    if suffix not in _DELIMITERS:
        raise DataError(f"{path.name}: not a kind of file that can be read; save it as .csv, .csv.gz, .tsv or .parquet")
    return Form(_DELIMITERS[suffix], gzipped)


def _unpacked(path: Path) -> bytes:
    """The first bytes within a gzip file."""
    try:
        with gzip.open(path) as file:
            return file.read(_HEAD_BYTES)
    except (OSError, EOFError, zlib.error):
        pass
    raise DataError(f"{path.name}: is no complete gzip file; the file may be incomplete, copy or compress it again")


def _is_parquet(head: bytes) -> bool:
    # PAR1 could be the name of a column too; a text file has no byte of 0.
    return head.startswith(_PARQUET_MAGIC) and b"\0" in head


def _check_kind(path: Path, head: bytes) -> None:
    """Raise DataError where a file's first bytes are those of a known kind that is no table of text."""
    if _is_parquet(head) or head.startswith(_GZIP):
        raise DataError(f"{path.name}: was compressed by gzip once too often; decompress it once")
    if head.startswith(b"PK") and (b"xl/" in head or b"[Content_Types].xml" in head):
        raise DataError(f"{path.name}: is an Excel workbook; save the sheet as 'CSV UTF-8'")
    for magic, fault in _NO_TABLES:
        if head.startswith(magic) and (not magic.isalnum() or b"\0" in head):
            raise DataError(f"{path.name}: {fault}")


def _check_text(path: Path, head: bytes) -> None:
    """Raise DataError where a file's first bytes are no text, or text of another kind than a table."""
    if b"\0" in head:
        raise DataError(f"{path.name}: has bytes of 0: it is UTF-16, or no text; {_UTF_8}")
    for start, fault in _NO_TABLES_OF_TEXT:
        if head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(start):
            raise DataError(f"{path.name}: {fault}")
