"""Ids are compared as text in one form; what would match in another is told; what identifies nobody is refused."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbus.errors import DataError
from parties.data import ids
from reader import load


def csv(folder: Path, *cells: str) -> Path:
    path = folder / "shop.csv"
    path.write_text("id,a\n" + "".join(f"{cell},{number}\n" for number, cell in enumerate(cells)))
    return path


def parquet(folder: Path, select: str) -> Path:
    path = folder / "shop.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet)")
    return path


def test_ids_are_in_unicode_s_form_nfc(tmp_path: Path) -> None:
    name = "zoë müller"
    assert unicodedata.normalize("NFD", name) != name
    table = load(csv(tmp_path, f"\u00a0{unicodedata.normalize('NFD', name)} ", "ﬁ"))
    # Ligatures and full-width letters are other letters: that is not for the form NFC to decide.
    assert table.ids == (name, "ﬁ")


def test_ids_that_are_one_in_that_form_are_there_twice(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="rows 2 and 4 have the same id"):
        load(csv(tmp_path, "é", "x", "e\u0301"))


@pytest.mark.parametrize(
    "word", ["NULL", "null", "NA", "n/a", "NaN", "None", "#N/A", "<NA>", "NaT", "-", ".", "?", " - "]
)
def test_a_word_for_a_missing_value_identifies_nobody(tmp_path: Path, word: str) -> None:
    with pytest.raises(DataError, match="column 'id', row 3: the id is a missing value") as caught:
        load(csv(tmp_path, "x", word, "y"))
    assert "fill it in or remove the row" in str(caught.value)


def test_decimals_and_floats_that_are_whole_are_ids(tmp_path: Path) -> None:
    large = 10**37 + 1
    decimal = load(parquet(tmp_path, f"SELECT {large}::DECIMAL(38, 0) AS id, 1 AS a"))
    assert decimal.ids == (str(large),)
    cents = load(parquet(tmp_path, "SELECT unnest([12.00, -7.00])::DECIMAL(10, 2) AS id, 1 AS a"))
    assert cents.ids == ("12", "-7")
    floats = load(parquet(tmp_path, "SELECT unnest([1, 9007199254740991, -0.0])::DOUBLE AS id, 1 AS a"))
    assert floats.ids == ("1", "9007199254740991", "0")


@pytest.mark.parametrize(
    ("kind", "value"),
    [("DOUBLE", "1.5"), ("DOUBLE", "9007199254740992"), ("DOUBLE", "1e300"), ("DOUBLE", "'inf'"), ("FLOAT", "1e30")],
)
def test_a_float_that_is_not_exact_is_no_id(tmp_path: Path, kind: str, value: str) -> None:
    words = f"column 'id', row 3: the id is no whole number, or too large to be exact as {kind}"
    with pytest.raises(DataError, match=words):
        load(parquet(tmp_path, f"SELECT unnest([1.0::{kind}, {value}::{kind}, 2.0::{kind}]) AS id, 1 AS a"))


def test_a_decimal_with_a_fraction_and_a_float_without_a_number_are_no_ids(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 2: the id is no whole number"):
        load(parquet(tmp_path, "SELECT 1.25::DECIMAL(5, 2) AS id, 1 AS a"))
    with pytest.raises(DataError, match=r"row 3: the id is empty"):
        load(parquet(tmp_path, "SELECT unnest([1.0::DOUBLE, 'nan'::DOUBLE]) AS id, 1 AS a"))
    with pytest.raises(DataError, match="holds ids as DATE"):
        load(parquet(tmp_path, "SELECT DATE '2020-01-01' AS id, 1 AS a"))


def test_rows_of_commas_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_text("id,a,y\n,,\n1,2,3\n , ,\n\n4,5,x\n,,\n")
    assert load(path, exclude=["y"]).ids == ("1", "4")
    assert load(path, exclude=["y"]).notes == ("shop.csv: 3 rows without any cell left out",)
    # Rows keep the number that a spreadsheet shows.
    with pytest.raises(DataError, match="column 'y', row 6: the cell is not a number"):
        load(path)
    path.write_text("id,a\n,\n,7\n1,2\n")
    with pytest.raises(DataError, match="column 'id', row 3: the id is empty"):
        load(path)
    path.write_text("id,a\n,\n,\n")
    with pytest.raises(DataError, match="no data rows"):
        load(path)


@pytest.mark.parametrize(
    ("one", "other"),
    [("7", "7.0"), ("7", "007"), ("A1", "a1"), ("A 1", "a1"), ("x\u200b", "x"), ("Straße", "STRASSE"), ("ﬁ", "fi")],
)
def test_what_spellings_of_one_id_fold_to(one: str, other: str) -> None:
    assert ids.folded(one) == ids.folded(other)


@pytest.mark.parametrize(("one", "other"), [("7", "70"), ("7", "-7"), ("1.05", "105"), ("a0", "a"), ("0", "1")])
def test_ids_that_stay_apart(one: str, other: str) -> None:
    assert ids.folded(one) != ids.folded(other)


def test_ids_in_common_as_they_are_and_folded() -> None:
    assert ids.in_common([["1", "2", "3"], ["1.0", "2", "4"]]) == (1, 2)
    assert ids.in_common([["1"], ["2"]]) == (0, 0)
    # Who is meant by a1, nobody can tell.
    assert ids.in_common([["a1", "A1"], ["a1", "b"]]) == (1, 1)
    assert ids.in_common([["x", "Y"], ["X", "y"], ["x", "y", "z"]]) == (0, 2)


def test_ids_that_a_spreadsheet_rounded_are_noted(tmp_path: Path) -> None:
    table = load(csv(tmp_path, "1.23457E+12", "1E5", "1.5"))
    assert table.notes == (
        "shop.csv: 1 ids are written as 1.2E+12: a spreadsheet has rounded them, and they may stand for others too;"
        " export them as text",
    )
    assert ids.forms(["1.23457E+12"]).startswith("all are written as 1.2E+12")


def test_forms_of_ids_are_told_without_any_of_them() -> None:
    assert ids.forms(["1.0", "22.0"]) == "all end in .0, their length is 3 to 4"
    assert ids.forms(["007", "Ab", "a b"]) == (
        "1 begin with a zero, 1 have upper-case letters, 1 have blanks within, their length is 2 to 3"
    )


@given(st.text(min_size=1, max_size=12))
def test_folding_does_not_mind_blanks_and_zeros(text: str) -> None:
    assert ids.folded(f" 0{text}\u200b") == ids.folded(text) != ""
