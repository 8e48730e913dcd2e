"""What becomes of missing cells, text and dates: fitted on training rows, applied to all, kept with the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from fedbus import codec
from fedbus.datasets import DateUnit
from fedbus.errors import DataError
from parties.data.gaps import filled
from parties.data.recoding import Recoding
from parties.data.table import Table
from reader import load, settings


def table(folder: Path, text: str, **how: Any) -> Table:
    path = folder / "shop.csv"
    path.write_text(text)
    return load(path, **how)


def recode(folder: Path, text: str, rows: list[int] | None = None, *, agreed: bool = False, **how: Any) -> Table:
    """The table as a model sees it that is trained on these rows of it."""
    read = table(folder, text, **how)
    keys = {key: value for key, value in how.items() if key != "label"}
    train = read if rows is None else read.take(np.array(rows))
    return Recoding.fit(train, settings(folder, **keys), agreed=agreed).apply(read)


NUMBERS = "id,a,b\n1,1,5\n2,NA,6\n3,5,7\n4,6,8\n"


@pytest.mark.parametrize("word", ["", "  ", "NA", "n/a", "NULL", "None", "nan", "-", ".", "?", "#N/A", '"NA"'])
def test_a_missing_value_is_told_as_such(tmp_path: Path, word: str) -> None:
    with pytest.raises(DataError, match=r"column 'a', row 3: the cell is (empty|a missing value)") as caught:
        table(tmp_path, NUMBERS.replace("NA", word))
    assert "`missing` in the party file" in str(caught.value)
    assert "thousands" not in str(caught.value)


@pytest.mark.parametrize(("missing", "value"), [("mean", 4.0), ("median", 5.0), ("zero", 0.0), ("indicator", 4.0)])
def test_what_stands_for_a_missing_number(tmp_path: Path, missing: str, value: float) -> None:
    got = recode(tmp_path, NUMBERS, missing=missing)
    assert got.features[:, 0].tolist() == [1.0, value, 5.0, 6.0]
    assert got.columns == (("a", "a__missing", "b") if missing == "indicator" else ("a", "b"))
    if missing == "indicator":
        assert got.features[:, 1].tolist() == [0.0, 1.0, 0.0, 0.0]


def test_only_the_rows_to_train_on_say_what_is_filled(tmp_path: Path) -> None:
    got = recode(tmp_path, NUMBERS, [0, 2], missing="mean")
    assert got.features[1].tolist() == [3.0, 6.0]
    # No cell of these rows is missing, so that there is no column to say where.
    assert recode(tmp_path, NUMBERS, [0, 2], missing="indicator").columns == ("a", "b")


def test_very_large_values_have_a_mean(tmp_path: Path) -> None:
    got = recode(tmp_path, "id,a\n1,1.5e308\n2,1.5e308\n3,\n", missing="mean")
    assert got.features[:, 0].tolist() == [1.5e308] * 3


def test_rows_are_dropped_with_their_labels_and_keep_their_numbers(tmp_path: Path) -> None:
    text = "id,y,a\n1,1,1\n2,,2\n,,\n3,3,NULL\n4,4,4\n"
    got = table(tmp_path, text, label="y", missing="drop")
    assert got.label is not None
    assert (got.ids, got.label.tolist(), got.features.tolist()) == (("1", "4"), [1.0, 4.0], [[1.0], [4.0]])
    assert [got.row(0), got.row(1)] == [2, 6]
    assert got.notes == (
        "shop.csv: 1 row without any cell left out",
        "shop.csv: 2 of 4 rows are left out for missing cells: in 'a' 1 and 'y' 1",
    )
    with pytest.raises(DataError, match="2 of 2 rows are left out for missing cells: in 'a' 2; no row is left"):
        table(tmp_path, "id,a\n1,\n2,\n", missing="drop")


@pytest.mark.parametrize("missing", ["error", "mean", "median", "zero", "indicator"])
def test_a_missing_label_is_never_made_up(tmp_path: Path, missing: str) -> None:
    with pytest.raises(DataError, match=r"column 'y', row 3: the cell is empty; .*`missing = \"drop\"`"):
        table(tmp_path, "id,y,a\n1,1,1\n2,,2\n", label="y", missing=missing)


def test_a_column_without_any_value_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="column 'a' has no value in any of the 1 rows to train on"):
        recode(tmp_path, NUMBERS, [1], missing="mean")


def test_missing_cells_are_counted_by_column(tmp_path: Path) -> None:
    read = table(tmp_path, "id,a,b,c\n1,,x,1\n2,3,,2\n3,,y,3\n", missing="mean", one_hot=["b"])
    assert filled(read) == {"a": 2, "b": 1}


def test_missing_cells_of_many_rows_are_found_where_they_are(tmp_path: Path) -> None:
    # So many that several threads read them.
    rows = 600_000
    text = "".join(f"k{row},{row if row % 7 else 'NA'},{row % 5}\n" for row in range(rows))
    got = table(tmp_path, "id,a,b\n" + text, missing="mean", one_hot=["b"])
    expected = np.where(np.arange(rows) % 7, np.arange(rows), np.nan)
    assert np.array_equal(got.features[:, 0], expected, equal_nan=True)
    assert np.array_equal(got.features[:, 1], np.arange(rows) % 5)


def test_what_is_wrong_is_not_missing(tmp_path: Path) -> None:
    for cell, words in (("1,5", "thousands separators"), ("x", "`one_hot`"), ("inf", "infinite"), ("5%", "per cent")):
        with pytest.raises(DataError, match=f"column 'a', row 3: the cell .*{words}"):
            table(tmp_path, NUMBERS.replace("NA", f'"{cell}"'), missing="mean")


@pytest.mark.parametrize("cell", ["#DIV/0!", "#VALUE!", "#REF!"])
def test_an_error_of_a_spreadsheet_is_told_as_such(tmp_path: Path, cell: str) -> None:
    with pytest.raises(DataError, match="is an error of a spreadsheet"):
        table(tmp_path, NUMBERS.replace("NA", cell), missing="drop")


def test_true_and_false_are_one_and_zero_where_nothing_else_is(tmp_path: Path) -> None:
    got = recode(tmp_path, "id,a\n1,TRUE\n2,false\n3,\n4,True\n", missing="zero")
    assert got.features[:, 0].tolist() == [1.0, 0.0, 0.0, 1.0]
    with pytest.raises(DataError, match="column 'a', row 3: the cell is true or false in a column of numbers"):
        table(tmp_path, "id,a\n1,2\n2,TRUE\n")


CITIES = "id,city\n1,Bonn\n2,Köln\n3,Bonn\n4, Köln \n5,Bonn\n6,Aachen\n"


def test_text_becomes_a_column_for_each_level_but_the_most_frequent(tmp_path: Path) -> None:
    got = recode(tmp_path, CITIES.replace("6,Aachen", "6,Ko\u0308ln"), one_hot=["city"])
    assert got.columns == ("city=Köln",)
    assert got.features[:, 0].tolist() == [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]
    assert recode(tmp_path, CITIES, one_hot=["city"]).columns == ("city=Köln", "city=Aachen")


def test_levels_beyond_the_bound_and_unknown_ones_are_other(tmp_path: Path) -> None:
    got = recode(tmp_path, CITIES + "7,\n", missing="mean", one_hot=["city"], max_levels=2)
    assert got.columns == ("city=Köln", "city=other")
    assert got.features.tolist() == [[0, 0], [1, 0], [0, 0], [1, 0], [0, 0], [0, 1], [0, 1]]
    got = recode(tmp_path, CITIES, [0, 1, 2, 5], one_hot=["city"], max_levels=1)
    assert got.columns == ("city=other",)


def test_an_unknown_level_counts_as_the_average_row_where_none_is_other(tmp_path: Path) -> None:
    got = recode(tmp_path, CITIES, [0, 1, 2, 4], one_hot=["city"])
    assert got.columns == ("city=Köln",)
    assert got.features[5].tolist() == [0.25]


def test_a_missing_text_has_its_own_column_with_indicators(tmp_path: Path) -> None:
    got = recode(tmp_path, CITIES + "7,NULL\n", missing="indicator", one_hot=["city"])
    assert got.columns == ("city=Köln", "city=Aachen", "city__missing")
    assert got.features[6].tolist() == [0.0, 0.0, 1.0]


def test_text_of_one_level_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="column 'city' has the same level in all 2 rows to train on"):
        recode(tmp_path, CITIES, [0, 2], one_hot=["city"])


def test_parties_with_the_same_columns_list_levels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"same levels of it; list two or more .* levels = \{ city = "):
        recode(tmp_path, CITIES, agreed=True, one_hot=["city"])
    listed = {"city": ["Köln", "Trier", "other"]}
    got = recode(tmp_path, CITIES, agreed=True, levels=listed)
    # Whether or not a level is there: the columns must not follow from a party's own rows.
    assert got.columns == ("city=Trier", "city=other")
    assert got.features.tolist() == [[0, 1], [0, 0], [0, 1], [0, 0], [0, 1], [0, 1]]
    with pytest.raises(DataError, match=r"column 'city', row 7: `levels` does not list the cell; add it"):
        recode(tmp_path, CITIES, agreed=True, levels={"city": ["Bonn", "Köln"]})


def test_parties_with_the_same_columns_list_indicators(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="need the same indicators"):
        recode(tmp_path, NUMBERS, agreed=True, missing="indicator")
    got = recode(tmp_path, NUMBERS, agreed=True, missing="indicator", indicators=["b"])
    assert got.columns == ("a", "b", "b__missing")
    assert got.features[:, 2].tolist() == [0.0] * 4


def test_columns_of_the_model_have_names_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two columns of the model are named 'city=Köln'"):
        recode(tmp_path, "id,city,city=Köln\n1,Bonn,1\n2,Köln,2\n3,Bonn,3\n", one_hot=["city"])


DATES = "id,at\n1,1970-01-02\n2,1970-01-01T12:00\n3, 1969-12-31 00:00:00Z \n4,1970-01-02T02:00:00+02:00\n"


def test_dates_are_counted_in_a_unit(tmp_path: Path) -> None:
    assert table(tmp_path, DATES, dates=["at"]).features[:, 0].tolist() == [1.0, 0.5, -1.0, 1.0]
    assert table(tmp_path, DATES, dates=["at"], date_unit=DateUnit.HOURS).features[:, 0].tolist() == [
        24.0,
        12.0,
        -24.0,
        24.0,
    ]


@pytest.mark.parametrize(
    "cell", ["31.12.2020", "01/02/2020", "2020-02-30", "20200101", "epoch", "infinity", "2020", "2020-01-01 25:00"]
)
def test_what_is_no_date_is_named(tmp_path: Path, cell: str) -> None:
    with pytest.raises(DataError, match="column 'at', row 3: the cell is no date; write dates as YYYY-MM-DD"):
        table(tmp_path, f"id,at\n1,2020-01-01\n2,{cell}\n", dates=["at"], missing="mean")
    if cell[2] in "./":
        with pytest.raises(DataError, match=r"looks like a date; .* name the column in `dates`"):
            table(tmp_path, f"id,at\n1,{cell}\n")


def test_dates_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "shop.parquet"
    moments = "TIMESTAMP '1970-01-01 06:00:00' AS b, TIMESTAMPTZ '1970-01-02 00:00:00+12' AS c"
    rows = f"SELECT '1' AS id, DATE '1970-01-03' AS a, {moments}, TIMESTAMP_NS '1970-01-02' AS d"
    rows += " UNION ALL SELECT '2', NULL, TIMESTAMP 'infinity', TIMESTAMPTZ '1970-01-01 00:00:00+00', NULL"
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({rows}) TO '{path}' (FORMAT parquet)")
    got = load(path, columns=["a", "c", "d"], dates=["a", "c", "d"], missing="zero")
    assert got.features[0].tolist() == [2.0, 0.5, 1.0]
    assert np.isnan(got.features[1]).tolist() == [True, False, True]
    # An infinite date is wrong, not missing.
    with pytest.raises(DataError, match="column 'b', row 3: the cell is no date"):
        load(path, columns=["b"], dates=["b"], missing="zero")
    with pytest.raises(DataError, match="column 'id' is the id column; remove it from `dates`"):
        load(path, dates=["id"])


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"dates": ["at"]}, "no column 'at'; did you mean 'a'?"),
        ({"one_hot": ["a"], "exclude": ["a"]}, "column 'a' is excluded; remove it from `one_hot`"),
        ({"levels": {"b": ["x"]}, "columns": ["a"]}, "column 'b' is not in `columns`; add it there, or remove it from"),
        ({"indicators": ["id"]}, "column 'id' is the id column; remove it from `indicators`"),
    ],
)
def test_keys_that_contradict_each_other(tmp_path: Path, how: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError) as caught:
        table(tmp_path, NUMBERS, **how)
    assert words in str(caught.value)


def test_a_recoding_is_kept_with_the_model(tmp_path: Path) -> None:
    read = table(tmp_path, CITIES.replace("6,Aachen", "6,"), missing="median", one_hot=["city"])
    kept = codec.unpack(codec.pack(Recoding.fit(read, settings(tmp_path, missing="median")).to_map()))
    assert kept == [
        {
            "name": "city",
            "fill": None,
            "indicator": False,
            "levels": ["Köln"],
            "reference": "Bonn",
            "other": True,
            "shares": [],
            "date_unit": "",
        }
    ]


def test_codes_are_the_same_whether_a_gap_in_a_file_made_them_floats_or_not(tmp_path: Path) -> None:
    def codes(select: str) -> Table:
        path = tmp_path / "codes.parquet"
        path.unlink(missing_ok=True)
        duckdb.sql(f"FROM (VALUES {select}) AS rows(id, code)").write_parquet(str(path))
        return load(path, one_hot=["code"], missing="zero")

    whole = codes("(1, 7), (2, 8), (3, 7)")
    gapped = codes("(1, 8.0::DOUBLE), (2, NULL), (3, 7.0::DOUBLE)")
    exact = codes("(1, 8.00::DECIMAL(6, 2)), (2, 7.00::DECIMAL(6, 2)), (3, 7.50::DECIMAL(6, 2))")
    assert whole.levels["code"] == gapped.levels["code"] == ("7", "8")
    assert exact.levels["code"] == ("7", "7.50", "8")
    text = "id,code\n1,8.0\n2,\n3,7.0\n"
    recoding = Recoding.fit(whole, settings(tmp_path, one_hot=["code"], missing="zero"))
    for held_out in (gapped, table(tmp_path, text, one_hot=["code"], missing="zero")):
        got = recoding.apply(held_out)
        assert got.columns == ("code=8",)
        assert got.features[[0, 2], 0].tolist() == [1.0, 0.0]
    listed = recode(tmp_path, text, one_hot=["code"], levels={"code": ("7.0", "8")}, missing="zero")
    assert (listed.columns[0], listed.features[[0, 2], 0].tolist()) == ("code=8", [1.0, 0.0])
