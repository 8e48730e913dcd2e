"""Every fault of a data source is reported with file, column and row, and never with the value of a cell."""

from __future__ import annotations

import gzip
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from fedbus.errors import DataError
from parties.data.source import connect
from parties.data.table import Scaling, Table
from parties.fedavg.training import check_label
from reader import load

# Stands for what must not be seen by a reader of a log.
SECRET = "S3CR3T"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(text: str | bytes, name: str = "clients.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return _write


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[[str], Path]:
    def _parquet(select: str) -> Path:
        path = tmp_path / "clients.parquet"
        with duckdb.connect() as connection:
            connection.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet)")
        return path

    return _parquet


def fault(path: Path, **arguments: Any) -> str:
    """The message of the DataError that loading gives; its whole trace must be free of values too."""
    with pytest.raises(DataError) as caught:
        load(path, **{"id_column": "id", **arguments})
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    message = str(caught.value)
    assert message.startswith(path.name)
    return message


def test_reads_rows_in_file_order_and_keeps_leading_zeros(write: Write) -> None:
    table = load(write("id,b,y,a\n 007 ,1,10,-2.5e1\nx,+3,20, 4 \n"), id_column="id", label="y")
    assert table.ids == ("007", "x")
    assert table.columns == ("b", "a")
    assert table.features.tolist() == [[1.0, -25.0], [3.0, 4.0]]
    assert table.label is not None
    assert table.label.tolist() == [10.0, 20.0]
    assert table.features.dtype == table.label.dtype == np.float64
    assert table.features.flags.c_contiguous


def test_file_order_holds_for_many_rows(write: Write) -> None:
    path = write("id,a\n" + "".join(f"k{row},{row}\n" for row in range(300_000)))
    table = load(path, id_column="id")
    assert table.ids[250_000] == "k250000"
    assert np.array_equal(table.features[:, 0], np.arange(300_000))


@pytest.mark.parametrize("name", ["clients.tsv", "clients.TSV.gz", "clients.csv.gz", "a[1]*?.csv", "it's.csv"])
def test_kinds_and_names_of_text_files(write: Write, name: str) -> None:
    text = "id,a\n1,2\n".replace(",", "\t" if "tsv" in name.lower() else ",").encode()
    table = load(write(gzip.compress(text) if name.endswith(".gz") else text, name), id_column="id")
    assert (table.ids, table.features.tolist(), table.name) == (("1",), [[2.0]], name)


@pytest.mark.parametrize("text", ["\ufeffid,a\r\n1,2\r\n", "id,a\n\n1,2\n\n", "id,a\r1,2", " id , a \n1,2\n"])
def test_forms_that_spreadsheets_write(write: Write, text: str) -> None:
    table = load(write(text), id_column="id", columns=["a"])
    assert (table.ids, table.features.tolist()) == (("1",), [[2.0]])


def test_column_names_with_quotation_marks_and_commas(write: Write) -> None:
    path = write('id,"say ""a"" x","b, it\'s",A,a\n1,2,3,4,5\n')
    table = load(path, id_column="id", exclude=["b, it's"])
    assert table.columns == ('say "a" x', "A", "a")
    assert table.features.tolist() == [[2.0, 4.0, 5.0]]


def test_an_excluded_column_is_no_label(write: Write) -> None:
    path = write("id,a,salary\n1,2,3\n")
    message = fault(path, label="salary", exclude=["salary"])
    assert "column 'salary' is left out of all jobs by `exclude`" in message
    assert load(path, id_column="id", label="salary").columns == ("a",)


def test_a_label_that_fits_no_fixed_point_is_named(write: Write) -> None:
    text = "id,a,y\n1,2,3\n4,5,{}\n"
    label = load(write(text.format("-4.3e12")), id_column="id", label="y").label
    assert label is not None
    assert label.tolist() == [3.0, -4.3e12]
    message = fault(write(text.format("-4.4e12")), label="y")
    assert message == "clients.csv: column 'y', row 3: the label is not below 4.4e+12; change its unit"


def test_columns_are_read_in_the_order_asked_for(write: Write) -> None:
    table = load(write("id,a,b,c\n1,2,3,word\n"), id_column="id", columns=["b", "a"])
    assert table.features.tolist() == [[3.0, 2.0]]


def test_parquet(parquet: Callable[[str], Path]) -> None:
    path = parquet('SELECT 7::BIGINT AS id, 1.5 AS "a ""q""", true AS b, 1.25::DECIMAL(5, 2) AS c, \'2\' AS d')
    table = load(path, id_column="id", label="c")
    assert table.ids == ("7",)
    assert table.columns == ('a "q"', "b", "d")
    assert table.features.tolist() == [[1.5, 1.0, 2.0]]
    assert table.label is not None
    assert table.label.tolist() == [1.25]


@pytest.mark.parametrize(
    ("select", "words"),
    [
        ("SELECT 1.5::DOUBLE AS id, 2 AS a", ["'id'", "row 2", "DOUBLE", "text or as whole numbers"]),
        ("SELECT true AS id, 2 AS a", ["'id'", "BOOLEAN", "text or as whole numbers"]),
        ("SELECT 1 AS id, DATE '2020-01-01' AS a", ["'a'", "DATE", "`dates`", "`exclude`"]),
        ("SELECT 1 AS id, [2] AS a", ["'a'", "INTEGER[]"]),
        ("SELECT * FROM (VALUES (1, 2.0), (2, NULL)) AS t(id, a)", ["'a'", "row 3", "empty"]),
        ("SELECT * FROM (VALUES (1, 2.0::FLOAT), (2, 'nan')) AS t(id, a)", ["'a'", "row 3", "missing value"]),
        ("SELECT * FROM (VALUES (1, 2.0::FLOAT), (2, 'inf')) AS t(id, a)", ["'a'", "row 3", "infinite"]),
        ("SELECT * FROM (VALUES (5, 2), (6, 3), (5, 4)) AS t(id, a)", ["'id'", "rows 2 and 4", "same id"]),
        ("SELECT 1 AS id, 'S3CR3T' AS a", ["'a'", "row 2", "not a number"]),
        ("SELECT 1 AS id, 2 AS a WHERE false", ["no data rows"]),
    ],
)
def test_faults_of_parquet(parquet: Callable[[str], Path], select: str, words: list[str]) -> None:
    message = fault(parquet(select))
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (SECRET, "not a number"),
        (f'"{SECRET},1"', "not a number"),
        ('"1,5"', "not a number"),
        ("1_000", "not a number"),
        ("0x10", "not a number"),
        ("", "is empty"),
        ('""', "is empty"),
        ("  ", "is empty"),
        ("nan", "is a missing value"),
        ("-inf", "infinite"),
        ("1e999", "too large"),
    ],
)
def test_a_cell_that_is_no_finite_number(write: Write, cell: str, words: str) -> None:
    # A blank line and an id of two lines: the row is the one that a spreadsheet shows.
    path = write(f'id,a,bad\n1,2,3\n\n"4\n4",5,6\n7,8,{cell}\n9,x,y\n')
    message = fault(path)
    assert "column 'bad', row 5" in message
    assert words in message
    assert "`exclude`" in message
    hidden = cell.strip('" -')
    assert not hidden or hidden not in message.replace("infinite", "")


def test_the_label_is_checked_like_a_feature(write: Write) -> None:
    message = fault(write(f"id,a,y\n1,2,3\n2,3,{SECRET}\n"), label="y")
    assert "column 'y', row 3" in message
    # The label cannot be left out; names of classes are what is most often there.
    assert "number classes 0, 1, ..." in message
    assert "`exclude`" not in message
    assert "is empty; fill it in or remove the row" in fault(write("id,a,y\n1,2,3\n2,3,\n"), label="y")


def test_a_row_is_that_of_a_spreadsheet(write: Write) -> None:
    table = load(write("id,a,y\n1,2,0\n\n2,3,7\n"), id_column="id", label="y")
    assert [table.row(0), table.row(1)] == [2, 4]
    with pytest.raises(DataError, match=r"1 of 2 labels are no class, the first in row 4"):
        check_label(table, "bce", 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"id,a\n1,2\n{SECRET},3\n2,3\n {SECRET} ,4\n", ["column 'id'", "rows 3 and 5", "same id"]),
        ("id,a\n1,2\n  ,3\n", ["column 'id', row 3", "empty"]),
        ("id,a\n1,2\n,3\n", ["column 'id', row 3", "empty"]),
        (f"id,a\n1,2\n\n{SECRET}\n", ["row 4 has 1 cells", "the header has 2"]),
        (f"id,a\n1,2,{SECRET}\n", ["row 2 has 3 cells"]),
        (f'id,a\n1,2\n2,"{SECRET}\n3,4\n', ["row 3", "quotation mark"]),
        (b"id,a\n1,2\nS3CR3T\xe9,3\n", ["UTF-8"]),
        (b"id,a\xe9\n1,2\n", ["UTF-8"]),
        (f"id,a\r\n1,2\n{SECRET},4\r\n", ["line endings"]),
        ("", ["empty", "header row"]),
        ("\n\nid,a\n1,2\n", ["row 1 is empty"]),
        ("id,a\n", ["no data rows"]),
        ("id\n1\n", ["no feature columns"]),
        ("id,a,b,a\n1,2,3,4\n", ["columns 2 and 4", "'a'", "rename"]),
        ("id,,a\n0,1,2\n", ["column 2 has no name"]),
    ],
)
def test_faults_of_text_files(write: Write, text: str | bytes, words: list[str]) -> None:
    message = fault(write(text))
    for word in words:
        assert word in message


def test_a_missing_file_names_the_folder_and_a_near_name(write: Write, tmp_path: Path) -> None:
    write("id,a\n1,2\n")
    message = fault(tmp_path / "client.csv")
    assert str(tmp_path) in message
    assert "did you mean 'clients.csv'" in message
    assert str(tmp_path / "none") in fault(tmp_path / "none" / "client.csv")
    assert "folder" in fault(tmp_path)


def test_files_that_are_not_what_their_name_says(write: Write) -> None:
    assert load(write("id,a\n1,2\n", "clients.csv.gz")).ids == ("1",)
    # A copy that broke off must not count as a smaller table.
    assert "incomplete" in fault(write(gzip.compress(b"id,a\n" + b"1,2\n" * 9)[:-1], "short.csv.gz"))
    assert "cannot be read as Parquet" in fault(write(SECRET * 9, "clients.parquet"))
    assert ".parquet" in fault(write("id,a\n1,2\n", "clients.xlsx"))


def test_missing_columns_name_the_nearest(write: Write) -> None:
    path = write("id,Income,age\n1,2,3\n")
    assert "no column 'ID'; did you mean 'id'?" in fault(path, id_column="ID")
    message = fault(path, columns=["income"])
    assert "no column 'income'; did you mean 'Income'?" in message
    assert "age" not in message
    # A misspelt exclusion would let a column into the model.
    assert "no column 'agee'" in fault(path, exclude=["agee"])
    assert "no column 'y'" in fault(path, label="y")
    assert "comma-separated" in fault(write("id;a\n1;2\n", "semicolon.csv"))
    assert "rename the file to .csv" in fault(write("id,a\n1,2\n", "commas.tsv"))


def test_contradictory_columns(write: Write) -> None:
    path = write("id,a,y\n1,2,3\n")
    assert "'y' is the label" in fault(path, columns=["a", "y"], label="y")
    assert "'id' is the id column" in fault(path, columns=["id"])
    assert "'a' is excluded" in fault(path, columns=["a"], exclude=["a"])
    assert "'a' is listed twice" in fault(path, columns=["a", "a"])
    assert "both the id and the label" in fault(path, label="id")
    assert "no feature columns" in fault(path, exclude=["a"], label="y")


def test_more_rows_than_allowed(write: Write) -> None:
    path = write("id,a\n1,2\n3,4\n")
    assert len(load(path, id_column="id", max_rows=2)) == 2
    assert "more than 1 rows" in fault(path, max_rows=1)


def test_duckdb_opens_one_file_only(write: Write) -> None:
    path, other = write("id,a\n1,2\n"), write("id,a\n1,2\n", "other.csv")
    connection = connect(path)
    assert connection.execute("SELECT count(*) FROM read_csv(?)", [str(path)]).fetchall() == [(1,)]
    refused = {
        f"FROM read_csv('{other}')": "disabled by configuration",
        "SET enable_external_access = true": "configuration has been locked",
        "INSTALL httpfs": "disabled",
    }
    for query, words in refused.items():
        with pytest.raises(duckdb.Error, match=words):
            connection.execute(query)


def test_take_orders_rows() -> None:
    table = Table("t.csv", ["a", "b", "c"], ("x",), np.array([[1.0], [2.0], [3.0]]), np.array([4.0, 5.0, 6.0]))
    taken = table.take(np.array([2, 0]))
    assert taken.label is not None
    assert (taken.ids, taken.features.tolist(), taken.label.tolist()) == (("c", "a"), [[3.0], [1.0]], [6.0, 4.0])


def test_scaling_uses_the_population_deviation() -> None:
    table = Table("t.csv", ["a", "b"], ("x", "y"), np.array([[1.0, 10.0], [3.0, 30.0]]), None)
    scaling = Scaling.fit(table)
    assert (scaling.mean.tolist(), scaling.scale.tolist()) == ([2.0, 20.0], [1.0, 10.0])
    assert scaling.apply(np.array([[4.0, 20.0]])).tolist() == [[2.0, 0.0]]


def test_scaling_refuses_a_constant_column() -> None:
    # The mean of many 0.1 is not 0.1, and the deviation not quite zero.
    features = np.column_stack([np.arange(1000.0), np.full(1000, 0.1)])
    table = Table("t.csv", [str(row) for row in range(1000)], ("x", "flat"), features, None)
    message = "t.csv: column 'flat' has the same value in all 1000 rows; leave it out with `exclude`"
    with pytest.raises(DataError) as caught:
        Scaling.fit(table)
    assert str(caught.value) == message
    with pytest.raises(DataError, match="no aligned rows"):
        Scaling.fit(table.take(np.array([], dtype=np.int64)))
    with pytest.raises(DataError, match="'x' has values too large"):
        Scaling.fit(Table("t.csv", ["a", "b"], ("x",), np.array([[1e300], [-1e300]]), None))


def test_all_columns_with_wrong_cells_are_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "gym.csv"
    file.write_text("id,age,smoker,joined,visits\na,30,no,2020-01-01,3\nb,,yes,2020-01-02,4\n")
    with pytest.raises(DataError) as caught:
        load(file, id_column="id")
    assert str(caught.value).startswith("gym.csv: column 'smoker', row 2: the cell is not a number")
    assert str(caught.value).endswith(". Such cells are also in 'age' (row 3) and 'joined' (row 2)")
