"""`fedbus check` with all files of a vertical job: what the tables have in common, and what they might have."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedbus.cli.checks import hold, notes
from fedbus.errors import ConfigError, JobRefused
from federation import Federation, held_out, synthetic
from parties.linear.side import in_common
from rows import synthetic as synthetic_rows

SIMULATED = {"FEDBUS_SIMULATION": "true"}


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    made = synthetic(tmp_path)
    made.write_job()
    return made


def rewrite(federation: Federation, change: str, of: str = "bank.csv") -> None:
    file = federation.folder / of
    header, *lines = file.read_text().splitlines()
    changed = [
        (change.format(cells[0].removeprefix("id")), cells[1]) for cells in (line.split(",", 1) for line in lines)
    ]
    file.write_text("\n".join([header, *map(",".join, changed)]) + "\n")


def test_rows_in_common_are_counted(federation: Federation) -> None:
    spec = federation.spec()
    brought = hold(federation.job_file, spec, federation.files, SIMULATED)
    assert in_common(spec, brought) == (36, 36)
    assert notes(spec, brought) == []
    assert in_common(spec, brought[:1]) is None


@pytest.mark.parametrize("form", ["ID{}", " i d {} ", "00id{}"])
def test_disjoint_ids_are_unsound_and_told_how_many_would_match(federation: Federation, form: str) -> None:
    rewrite(federation, form)
    with pytest.raises(JobRefused) as caught:
        hold(federation.job_file, federation.spec(), federation.files, SIMULATED)
    assert str(caught.value).startswith("shop.csv and bank.csv have no id in common; 36 more rows would be in common")
    assert "case, blanks, leading zeros and a `.0`" in str(caught.value)
    # One file alone says nothing of the others.
    assert hold(federation.job_file, federation.spec(), federation.files[:1], SIMULATED)


def test_disjoint_ids_that_match_in_no_form(federation: Federation) -> None:
    rewrite(federation, "other{}")
    with pytest.raises(JobRefused, match="have no id in common; do their id columns mean the same"):
        hold(federation.job_file, federation.spec(), federation.files, SIMULATED)


def test_some_ids_written_otherwise_are_noted(federation: Federation) -> None:
    file = federation.folder / "bank.csv"
    lines = file.read_text().splitlines()
    lines[1:21] = [line.replace("id", "ID") for line in lines[1:21]]
    file.write_text("\n".join(lines) + "\n")
    spec = federation.spec()
    brought = hold(federation.job_file, spec, federation.files, SIMULATED)
    found = in_common(spec, brought)
    assert found is not None
    assert found[0] < found[1] == 36
    (note,) = notes(spec, brought)
    assert note.startswith(f"{36 - found[0]} more rows would be in common, 36 in place of {found[0]}, if case")
    report = federation.run()
    assert report["warnings"] == [f"{note}."]


def test_the_same_party_twice_is_told(federation: Federation) -> None:
    files = [*federation.files, federation.files[0]]
    with pytest.raises(ConfigError, match=rf"{files[0]}: name: {files[0]} is the file of 'shop' already"):
        hold(federation.job_file, federation.spec(), files, SIMULATED)


def test_too_few_held_out_rows_in_common(federation: Federation) -> None:
    held_out(federation, 12)
    federation.write_job()
    rewrite(federation, "x{}", of="bank_test.csv")
    with pytest.raises(JobRefused, match=r"shop_test.csv and bank_test.csv have no id in common"):
        hold(federation.job_file, federation.spec(), federation.files, SIMULATED)


def test_policies_are_held_against_the_rows_in_common(federation: Federation) -> None:
    file = federation.files[1]
    file.write_text(file.read_text() + "[policy]\nmin_aligned_rows = 40\n")
    with pytest.raises(JobRefused, match=r"bank.toml: the parties have 36 rows in common, .* at least 40"):
        hold(federation.job_file, federation.spec(), federation.files, SIMULATED)


def test_notes_of_reading_are_told(federation: Federation) -> None:
    file = federation.folder / "bank.csv"
    file.write_text(file.read_text() + ",,\n")
    spec = federation.spec()
    brought = hold(federation.job_file, spec, federation.files, SIMULATED)
    assert notes(spec, brought) == [f"{federation.files[1]}: bank.csv: 1 row without any cell left out"]


def test_two_parties_do_not_write_their_predictions_into_the_same_file(tmp_path: Path) -> None:
    rows = synthetic_rows(tmp_path)
    job, spec = rows.write_job(), rows.spec()
    for number, file in enumerate(rows.files):
        file.write_text(f'{file.read_text()}[outputs]\nfolder = "predictions{number}"\n')
    assert hold(job, spec, rows.files, SIMULATED)
    second = rows.files[1]
    second.write_text(second.read_text().replace("predictions1", "./predictions0"))
    with pytest.raises(ConfigError, match=rf"{second}: outputs.folder: {rows.files[0]} names the same folder"):
        hold(job, spec, rows.files, SIMULATED)
