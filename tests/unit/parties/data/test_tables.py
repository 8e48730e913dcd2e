"""What an error tells others of a party's tables: the nearest name, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from fedbus.algorithms.registry import load
from fedbus.errors import DataError, JobRefused
from fedbus.settings import load_party
from federation import Federation, synthetic
from parties.data import tables
from rows import Rows, write_party


def refusal(federation: Federation, party: int) -> tuple[str, list[object]]:
    """The text that all participants get, and what only the party's log says."""
    spec = load(federation.write_job())
    with capture_logs() as logs, pytest.raises((DataError, JobRefused)) as caught:
        tables.load(load_party(federation.files[party], {}), spec)
    return str(caught.value), [entry.get("columns", entry.get("datasets")) for entry in logs]


def renamed(federation: Federation, *names: str) -> None:
    file = federation.files[1]
    own = file.read_text()
    section = own[own.index("[datasets.rows]") :]
    file.write_text(own.replace(section, "".join(section.replace("rows]", f"{name}]") for name in names)))


def test_a_missing_data_set_names_only_the_nearest(tmp_path: Path) -> None:
    federation = synthetic(tmp_path)
    renamed(federation, "row", "patients_hiv", "rowsy")
    text, logged = refusal(federation, 1)
    assert text.endswith("; did you mean 'rowsy'?")
    assert "'row'" not in text
    assert "patients" not in text
    assert logged == [["row", "patients_hiv", "rowsy"]]


def test_a_missing_data_set_with_none_near_names_none(tmp_path: Path) -> None:
    federation = synthetic(tmp_path)
    renamed(federation, "patients_hiv")
    text, logged = refusal(federation, 1)
    assert "patients" not in text
    assert logged == [["patients_hiv"]]


@pytest.mark.parametrize(("label", "hint"), [("salry", "did you mean 'salary'?"), ("zzz", "this party's log")])
def test_a_missing_column_names_only_the_nearest(tmp_path: Path, label: str, hint: str) -> None:
    federation = synthetic(tmp_path)
    (tmp_path / "shop.csv").write_text("id,salary,salaries,hiv_status\n1,2,3,4\n")
    federation.label = label
    text, logged = refusal(federation, 0)
    assert hint in text
    assert "hiv" not in text
    assert "salaries" not in text
    assert logged == [["id", "salary", "salaries", "hiv_status"]]


@pytest.mark.parametrize(("name", "instead"), [("income", ", where the second has 'income'"), ("hiv_status", "")])
def test_tables_that_differ_are_both_named(tmp_path: Path, name: str, instead: str) -> None:
    write_party(tmp_path, "bob")
    (tmp_path / "bob_rows.csv").write_text("id,incme,age,y\n1,2,3,4\n")
    (tmp_path / "bob_held.csv").write_text(f"id,{name},age,y\n1,2,3,4\n")
    spec = Rows(tmp_path, "y", ["bob", "alice"], tested=True).spec()
    with capture_logs() as logs, pytest.raises(DataError) as caught:
        tables.load(load_party(tmp_path / "bob.toml", {}), spec)
    assert str(caught.value) == (
        f"bob_rows.csv and bob_held.csv differ in their columns: only the first has 'incme'{instead}; "
        "training rows and held-out rows need the same names"
    )
    assert logs[0]["columns"] == ["id", name, "age", "y"]


@pytest.mark.parametrize(("header", "lacks"), [("id,income,age", "y"), ("row,income,age,y", "id")])
def test_held_out_rows_without_their_label_or_ids_are_told(tmp_path: Path, header: str, lacks: str) -> None:
    write_party(tmp_path, "bob")
    (tmp_path / "bob_rows.csv").write_text("id,income,age,y\n1,2,3,4\n")
    (tmp_path / "bob_held.csv").write_text(f"{header}\n1,2,3,4\n")
    spec = Rows(tmp_path, "y", ["bob", "alice"], tested=True).spec()
    with pytest.raises(DataError, match=f"bob_held.csv.*: no column '{lacks}'"):
        tables.load(load_party(tmp_path / "bob.toml", {}), spec)
