"""Whatever bytes a file has: a table of finite numbers, or a sentence that names the file."""

from __future__ import annotations

import gzip
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedbus.errors import DataError
from parties.data.recoding import Recoding
from reader import load
from reader import settings as section

CELLS = st.sampled_from(
    [
        "",
        " ",
        "1",
        "-2.5",
        "1e400",
        "nan",
        "inf",
        "NA",
        "-",
        "?",
        "1,5",
        "x",
        "TRUE",
        "false",
        "2020-02-30",
        "0x1",
        "1_0",
        "2020-01-01",
        "2020-01-01T10:00:00+02:00",
        '"',
        '""',
        '"a"',
        "é",
        "é",
        "\xa0",
        "\ufeff",
        "other",
        "9" * 400,
    ]
) | st.text(max_size=4)
ROWS = st.lists(st.lists(CELLS, max_size=5), max_size=6)
BYTES = (
    st.binary(max_size=200)
    | st.text(max_size=80).map(lambda text: text.encode())
    | ROWS.map(lambda rows: "\n".join(",".join(row) for row in rows).encode())
    | ROWS.map(lambda rows: "\r\n".join(["id,a,b", *(",".join(row) for row in rows)]).encode())
    | st.binary(max_size=60).map(gzip.compress)
    | st.binary(max_size=40).map(lambda rest: b"PAR1" + rest + b"\0PAR1")
)
HOW = st.fixed_dictionaries(
    {"missing": st.sampled_from(["error", "drop", "mean", "median", "zero", "indicator"])},
    optional={"dates": st.just(["a"]), "one_hot": st.just(["b"]), "max_levels": st.integers(1, 3)},
)


def attempt(path: Path, how: dict[str, object]) -> None:
    """Read and recode a file: finite numbers, one row for each id, or a sentence of one line."""
    fault = ""
    try:
        table = load(path, **how)
        recoded = Recoding.fit(table, section(path, **how)).apply(table)
    except DataError as error:
        fault = str(error)
    if fault:
        assert fault.startswith(f"{path.name}: ")
        assert len(fault) < 1000
        return
    assert len(table.ids) == len(set(table.ids)) == len(recoded.features)
    assert np.isfinite(recoded.features).all()
    for position in range(len(table)):
        assert table.row(position) >= 2


@pytest.mark.parametrize("name", ["any.csv", "any.tsv", "any.csv.gz", "any.parquet", "any.txt"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=BYTES, how=HOW)
def test_any_bytes(tmp_path: Path, name: str, data: bytes, how: dict[str, object]) -> None:
    (tmp_path / name).write_bytes(data)
    attempt(tmp_path / name, how)


VALUES = st.sampled_from(
    [
        "1",
        "NULL",
        "'x'",
        "'NaN'::DOUBLE",
        "'inf'::FLOAT",
        "1.50::DECIMAL(5, 2)",
        "7::HUGEINT",
        "true",
        "'é'",
        "[1]",
        "DATE '2020-01-01'",
        "DATE 'infinity'",
        "TIMESTAMP '2020-01-01'",
        "TIME '10:00:00'",
        "{'k': 1}",
        "'a'::BLOB",
        "TIMESTAMPTZ '2020-01-01 00:00:00+00'",
        "TIMESTAMP_NS '2020-01-01'",
        "INTERVAL 1 DAY",
        "1::UTINYINT",
        "uuid()",
        "DATE '200000-01-01'",
        "MAP {'k': 1}",
        "'x'::ENUM ('x', 'y')",
        "9007199254740993::DOUBLE",
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row_id=VALUES, a=VALUES, b=VALUES, how=HOW)
def test_any_types_of_parquet(tmp_path: Path, row_id: str, a: str, b: str, how: dict[str, object]) -> None:
    path = tmp_path / "any.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT {row_id} AS id, {a} AS a, {b} AS b) TO '{path}' (FORMAT parquet)")
    attempt(path, how)


def test_a_parquet_file_that_was_damaged_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "any.parquet"
    with duckdb.connect() as connection:
        rows = "SELECT range AS id, random() AS a FROM range(50)"
        connection.execute(f"COPY ({rows}) TO '{path}' (FORMAT parquet)")
    whole = path.read_bytes()
    random = np.random.default_rng(4)
    for _ in range(60):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            damaged[place] = int(random.integers(256))
        path.write_bytes(damaged[: int(random.integers(1, len(whole) + 1))] if random.random() < 0.3 else damaged)
        attempt(path, {})
