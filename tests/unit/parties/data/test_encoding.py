"""Rows to predict become what a stored model takes, as the rows of a table do."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedbus import codec
from fedbus.cli.app import app, invoke
from fedbus.datasets import DateUnit
from fedbus.errors import DataError
from federation import gappy
from parties.data.encoding import encode
from parties.data.recoding import Feature, Recoding
from reader import load, settings

TABLE = "id,age,city,flag,since\n" + "".join(
    f"{n},{'' if n == 3 else n},{city},{'true' if n % 2 else 'false'},{n}\n"
    for n, city in enumerate(["Bonn", "Köln", "Trier", "Bonn", "Bonn", "Köln", "Ulm", "Kiel"])
)


@pytest.mark.parametrize("missing", ["mean", "indicator", "median", "zero"])
@pytest.mark.parametrize("most", [2, 20])
def test_rows_are_encoded_as_the_rows_of_the_table_were(tmp_path: Path, missing: str, most: int) -> None:
    file = tmp_path / "shop.csv"
    file.write_text(TABLE)
    how: dict[str, Any] = {"missing": missing, "one_hot": ("city",), "max_levels": most}
    table = load(file, **how)
    recoding = Recoding.fit(table, settings(tmp_path, **how))
    # As a store gives it back.
    kept = codec.unpack(codec.pack(recoding.to_map()))
    header, *lines = TABLE.splitlines()
    rows: list[dict[str, Any]] = [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines]
    np.testing.assert_array_equal(encode(kept, rows), recoding.apply(table).features)
    # As a data frame has the same cells.
    for row in rows:
        row["age"] = float(row["age"]) if row["age"] else np.nan
        row["flag"] = row["flag"] == "true"
        row["more"] = "ignored"
    np.testing.assert_array_equal(encode(kept, rows), recoding.apply(table).features)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"a": 1}, "row 2 has no column 'b', which the model needs"),
        ({"a": 1, "b": ""}, "row 2, column 'b': the cell is missing, which the model has no value for"),
        ({"a": 1, "b": float("nan")}, "row 2, column 'b': the cell is missing"),
        ({"a": 1, "b": "1_000"}, "row 2, column 'b': the cell is not a number"),
        ({"a": 1, "b": "inf"}, "row 2, column 'b': the cell is not a number"),
        ({"a": 1, "b": [2]}, "row 2, column 'b': the cell is not a number"),
        ({"a": 1, "b": 10**400}, "row 2, column 'b': the cell is not a number"),
        # Python takes these digits for a number; the party's files may not have them.
        ({"a": 1, "b": "١٢"}, "row 2, column 'b': the cell is not a number"),
        ({"a": 1, "b": "\ud800"}, "row 2, column 'b': the cell is not a number"),
        ({"a": "١٢", "b": ""}, "row 2, column 'a': the cell is not a number"),
    ],
)
def test_a_row_that_the_model_has_nothing_for_is_named(tmp_path: Path, row: dict[str, Any], told: str) -> None:
    file = tmp_path / "shop.csv"
    file.write_text("id,a,b\n1,2,3\n2,4,6\n")
    kept = Recoding.fit(load(file), settings(tmp_path)).to_map()
    with pytest.raises(DataError) as caught:
        encode(kept, [{"a": 2, "b": 3}, row])
    assert str(caught.value).startswith(told)


DATES = "id,at,n\n1,2020-01-02,1\n2,2020-01-02T12:30,2\n3, 1969-12-31 00:00:00Z ,3\n4,1970-01-02T02:00:00+02:00,4\n"


@pytest.mark.parametrize("unit", list(DateUnit))
def test_dates_are_encoded_as_the_dates_of_the_table_were(tmp_path: Path, unit: DateUnit) -> None:
    file = tmp_path / "shop.csv"
    file.write_text(DATES)
    how: dict[str, Any] = {"dates": ["at"], "date_unit": unit}
    table = load(file, **how)
    kept = codec.unpack(codec.pack(Recoding.fit(table, settings(tmp_path, **how)).to_map()))
    assert [each["date_unit"] for each in kept] == [unit, ""]
    header, *lines = DATES.splitlines()
    rows = [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines]
    np.testing.assert_array_equal(encode(kept, rows), table.features)
    as_others_have_them: list[Any] = [
        date(2020, 1, 2),
        datetime(2020, 1, 2, 12, 30),  # noqa: DTZ001  # as pandas reads a time without a zone
        np.datetime64("1969-12-31"),
        datetime(1970, 1, 2, 2, tzinfo=timezone(timedelta(hours=2))),
    ]
    for row, at in zip(rows, as_others_have_them, strict=True):
        row["at"] = at
    np.testing.assert_array_equal(encode(kept, rows), table.features)


@pytest.mark.parametrize("cell", [18263, 18263.5, "18263", 20200102, True, "2020-02-30", "02.01.2020", [1]])
def test_what_is_no_date_is_refused_for_a_column_of_dates(tmp_path: Path, cell: Any) -> None:
    file = tmp_path / "shop.csv"
    file.write_text(DATES)
    how: dict[str, Any] = {"dates": ["at"], "date_unit": DateUnit.HOURS}
    kept = Recoding.fit(load(file, **how), settings(tmp_path, **how)).to_map()
    with pytest.raises(DataError, match=r"row 2, column 'at': the cell is no date; .* counts hours since 1970"):
        encode(kept, [{"at": "2020-01-02", "n": 1}, {"at": cell, "n": 1}])
    for missing in (None, "", float("nan"), np.datetime64("NaT")):
        with pytest.raises(DataError, match="row 1, column 'at': the cell is missing"):
            encode(kept, [{"at": missing, "n": 1}])


def test_no_rows_are_encoded_as_none(tmp_path: Path) -> None:
    file = tmp_path / "shop.csv"
    file.write_text(TABLE)
    how: dict[str, Any] = {"missing": "mean", "one_hot": ("city",)}
    recoding = Recoding.fit(load(file, **how), settings(tmp_path, **how))
    assert encode(recoding.to_map(), []).shape == (0, len(recoding.columns))


def test_the_command_says_which_columns_are_dates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    federation = gappy(tmp_path, 'missing = "mean"\none_hot = ["city"]\ndates = ["since"]\ndate_unit = "hours"\n')
    for name in ("shop_rows.csv", "shop_held.csv"):
        header, *rows = (tmp_path / name).read_text().splitlines()
        lines = [f"{header},since", *(f"{row},2020-01-{number % 28 + 1:02}" for number, row in enumerate(rows))]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    job = federation.run()["job"]
    capsys.readouterr()
    assert invoke(app, ["model", str(federation.files[0]), job]) == 0
    table = capsys.readouterr().out.split("\n\n")[-1].splitlines()
    cells = [re.split(" {2,}", line.strip())[:2] for line in table[1:]]
    assert cells == [
        ["column", "what it is"],
        ["age", "number"],
        ["city", "text"],
        ["since", "date, in hours since 1970"],
    ]
    assert max(map(len, table)) < 130


def test_the_command_shows_a_recoding_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    federation = gappy(tmp_path, 'missing = "indicator"\none_hot = ["city"]\n')
    job = federation.run()["job"]
    capsys.readouterr()
    assert invoke(app, ["model", str(federation.files[0]), job]) == 0
    printed = capsys.readouterr().out
    assert printed.split("\n\n")[-1].splitlines() == [
        "recoding",
        "  column  where it is missing             levels, all columns 0 for the first  any other level",
        "  age     1.93103, and age__missing is 1",
        "  city    the average row                 Bonn, Trier                          the average row",
    ]
    assert max(map(len, printed.splitlines())) < 120
    # Columns of numbers that are taken as they are need no table.
    assert invoke(app, ["model", str(federation.files[1]), job]) == 0
    assert "recoding" not in capsys.readouterr().out


@pytest.mark.parametrize("levels", [("true",), ("True",)])
def test_a_truth_value_is_the_level_that_its_file_had(levels: tuple[str, ...]) -> None:
    reference = {"true": "false", "True": "False"}[levels[0]]
    recoding = Recoding((Feature("member", levels=levels, reference=reference, shares=(0.5,)),)).to_map()
    rows = [{"member": value} for value in (True, False, np.bool_(True))]
    assert encode(recoding, rows).tolist() == [[1.0], [0.0], [1.0]]
