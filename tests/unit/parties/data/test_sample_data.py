"""The committed sample data are what ops/data/split_boston.py makes of the source."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from parties.data.table import Scaling, Table
from places import DATA
from reader import load

SAMPLE = DATA / "sample"
NAMES = ("products.csv", "users.csv", "products_test.csv", "users_test.csv")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("split_boston", DATA / "split_boston.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sides(suffix: str) -> tuple[Table, Table]:
    guest = load(SAMPLE / f"products{suffix}.csv", id_column="user_id", label="MEDV")
    return guest, load(SAMPLE / f"users{suffix}.csv", id_column="user_id")


def test_regenerating_gives_the_same_bytes(script: ModuleType, tmp_path: Path) -> None:
    written = script.split(DATA / "boston_housing.csv", tmp_path)
    assert [path.name for path in written] == list(NAMES)
    for path in written:
        assert path.read_bytes() == (SAMPLE / path.name).read_bytes()
    assert sorted(path.name for path in SAMPLE.iterdir()) == sorted(NAMES)


@pytest.mark.parametrize(("suffix", "rows", "common"), [("", 364, 327), ("_test", 92, 82)])
def test_each_side_has_its_own_rows_in_its_own_order(suffix: str, rows: int, common: int) -> None:
    guest, host = sides(suffix)
    assert (len(guest), len(host)) == (rows, rows)
    shared = set(guest.ids) & set(host.ids)
    assert len(shared) == common
    assert [value for value in guest.ids if value in shared] != [value for value in host.ids if value in shared]


def test_train_and_test_have_no_row_in_common() -> None:
    train, test = ({value for table in sides(suffix) for value in table.ids} for suffix in ("", "_test"))
    assert not train & test


def test_columns_vary_in_the_aligned_rows() -> None:
    guest, host = sides("")
    assert guest.columns == ("CHAS", "NOX", "RM", "AGE", "DIS", "RAD")
    assert host.columns == ("CRIM", "ZN", "INDUS", "TAX", "PTRATIO", "B", "LSTAT")
    for table, other in ((guest, host), (host, guest)):
        shared = set(other.ids)
        aligned = table.take(np.array([at for at, value in enumerate(table.ids) if value in shared]))
        assert (Scaling.fit(aligned).scale > 0).all()
        assert len(aligned) == 327


def test_a_row_is_the_same_house_on_both_sides(script: ModuleType) -> None:
    lines = (DATA / "boston_housing.csv").read_text().splitlines()[1:]
    header = lines[0].replace('"', "").split(",")
    source = {script.pseudonym(at): line.split(",") for at, line in enumerate(lines[1:])}
    assert len(source) == 506
    for suffix in ("", "_test"):
        for table in sides(suffix):
            for position, value in enumerate(table.ids):
                house = dict(zip(header, map(float, source[value]), strict=True))
                assert table.features[position].tolist() == [house[name] for name in table.columns]
                assert table.label is None or table.label[position] == house["MEDV"]
