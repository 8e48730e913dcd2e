"""A file is what its first bytes say; what cannot be read gets a sentence that says what it is."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import duckdb
import pytest

from fedbus.errors import DataError
from reader import load

TEXT = b"id,a\n1,2\n"


def workbook() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("[Content_Types].xml", "<Types/>")
        file.writestr("xl/workbook.xml", "<workbook/>")
    return packed.getvalue()


def archive() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("shop.csv", TEXT.decode())
    return packed.getvalue()


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("parquet") / "table.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT '1' AS id, 2.0 AS a) TO '{path}' (FORMAT parquet)")
    return path.read_bytes()


@pytest.mark.parametrize("name", ["shop.csv", "shop.csv.gz", "shop.tsv.gz"])
def test_compressed_or_not_is_seen_in_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for data in (TEXT, gzip.compress(TEXT)):
        path.write_bytes(data if "tsv" not in name else data.replace(b",", b"\t"))
        if "tsv" in name and data != TEXT:
            path.write_bytes(gzip.compress(TEXT.replace(b",", b"\t")))
        table = load(path)
        assert (table.ids, table.features.tolist()) == (("1",), [[2.0]])


@pytest.mark.parametrize("name", ["shop.csv", "shop.dat", "shop"])
def test_parquet_is_read_whatever_its_name(tmp_path: Path, parquet: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(parquet)
    assert load(tmp_path / name).features.tolist() == [[2.0]]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("shop.csv", workbook(), "is an Excel workbook; save the sheet as 'CSV UTF-8'"),
        ("shop.xlsx", workbook(), "is an Excel workbook"),
        ("shop.csv", archive(), "is a zip file; unpack it"),
        ("shop.xls", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(60), "is an old Excel workbook"),
        ("shop.csv", TEXT.decode().encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        ("shop.csv", TEXT.decode().encode("utf-16-le"), "has bytes of 0: it is UTF-16"),
        ("shop.csv", gzip.compress(gzip.compress(TEXT)), "compressed by gzip once too often"),
        ("shop.csv", gzip.compress(TEXT)[:12], "is no complete gzip file"),
        ("shop.csv", b"SQLite format 3\0" + bytes(80), "is an SQLite database; save the table as CSV or Parquet"),
        ("shop.csv", b"\x28\xb5\x2f\xfd" + bytes(9), "is compressed by zstd"),
        ("shop.csv", b"\x80\x04\x95", "is a pickle, which is never read"),
        ("shop.csv", b"ARROW1\0\0", "is a Feather file"),
        ("shop.csv", b"\n<!DOCTYPE html><title>Log in</title>", "is a web page or XML"),
        ("shop.csv", b'[{"id": 1}]', "is JSON"),
        ("shop.parquet", TEXT, "cannot be read as Parquet; rename it to .csv if it is text"),
        ("shop.parquet", b"PAR1" + bytes(80), "cannot be read as Parquet"),
        ("shop.txt", TEXT, "not a kind of file that can be read; save it as .csv"),
        ("shop.csv", b"", "the file is empty"),
    ],
    # What packed files hold differs with the time of day, which a test's name must not.
    ids=lambda value: "data" if isinstance(value, bytes) else value,
)
def test_what_is_no_table_is_named(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError) as caught:
        load(tmp_path / name)
    assert str(caught.value).startswith(f"{name}: ")
    assert words in str(caught.value)


def test_letters_that_begin_other_kinds_begin_headers_too(tmp_path: Path) -> None:
    for header in ("PK", "ORC", "ARROW1", "PAR1", "BZh"):
        (tmp_path / "shop.csv").write_text(f"{header},a\n1,2\n")
        assert load(tmp_path / "shop.csv", id_column=header).ids == ("1",)
