"""Rows to predict become what a stored model takes, as the rows of a table do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedbus import codec
from fedbus.cli.app import app, invoke
from fedbus.errors import DataError
from federation import gappy
from parties.data.encoding import encode
from parties.data.recoding import Recoding
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
    ],
)
def test_a_row_that_the_model_has_nothing_for_is_named(tmp_path: Path, row: dict[str, Any], told: str) -> None:
    file = tmp_path / "shop.csv"
    file.write_text("id,a,b\n1,2,3\n2,4,6\n")
    kept = Recoding.fit(load(file), settings(tmp_path)).to_map()
    with pytest.raises(DataError) as caught:
        encode(kept, [{"a": 2, "b": 3}, row])
    assert str(caught.value).startswith(told)


def test_the_command_shows_a_recoding_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    federation = gappy(tmp_path, 'missing = "indicator"\none_hot = ["city"]\n')
    job = federation.run()["job"]
    capsys.readouterr()
    assert invoke(app, ["model", str(federation.files[0]), job]) == 0
    printed = capsys.readouterr().out
    assert printed.split("\n\n")[1].splitlines() == [
        "recoding",
        "  column  where it is missing             levels, all columns 0 for the first  any other level",
        "  age     1.93103, and age__missing is 1",
        "  city    the average row                 Bonn, Trier                          the average row",
    ]
    assert max(map(len, printed.splitlines())) < 120
    # Columns of numbers that are taken as they are need no table.
    assert invoke(app, ["model", str(federation.files[1]), job]) == 0
    assert "recoding" not in capsys.readouterr().out
