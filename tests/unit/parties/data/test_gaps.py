"""Cells of held-out rows that were filled, or of levels that training lacks, are counted; idle keys are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedbus.algorithms import registry
from fedbus.cli.checks import hold, notes
from fedbus.cli.report import print_report
from fedbus.errors import ConfigError
from federation import GAPPY_KEYS, gappy
from parties.data.gaps import Gaps
from rows import synthetic

SIMULATED = {"FEDBUS_SIMULATION": "true"}


def test_cells_of_held_out_rows_are_counted_beside_those_of_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = gappy(tmp_path).run()
    assert report["state"] == "succeeded"
    assert report["missing_cells"] == {"shop": 1}
    assert report["test_missing_cells"] == {"shop": 3}
    assert report["test_unknown_levels"] == {"shop": 3}
    print_report(registry.read_report(report))
    lines = [line.split(maxsplit=3)[3] for line in capsys.readouterr().out.splitlines() if "in held-out rows" in line]
    assert lines == ["shop 3 cells filled, shop 3 cells of levels that its training rows lack"]


def test_nothing_is_counted_where_there_is_nothing() -> None:
    assert set(Gaps().counts().values()) == {0}


def test_held_out_rows_that_training_had_are_counted_and_warned_of(tmp_path: Path) -> None:
    made = gappy(tmp_path)
    # Of six ids that both parties hold out four are ids of training rows; one more is so at the shop alone.
    for party in ("shop", "bank"):
        file = tmp_path / f"{party}_held.csv"
        file.write_text(file.read_text().replace("k4,", "new4,").replace("k5,", "new5,"))
    file = tmp_path / "shop_rows.csv"
    file.write_text(file.read_text() + "new4,1,2,Bonn\n")
    told = "4 of 6 held-out ids are ids of training rows at shop: scores on them are not of new rows"
    spec = registry.load(made.job_file)
    assert told in notes(spec, hold(made.job_file, spec, made.files, SIMULATED))
    # What one party's file alone says of the rows in common is nothing.
    assert told not in notes(spec, hold(made.job_file, spec, made.files[:1], SIMULATED))
    report = made.run()
    assert report["test_training_ids"] == {"shop": 4}
    assert report["warnings"].count(f"{told}.") == 1
    for party in ("shop", "bank"):
        file = tmp_path / f"{party}_held.csv"
        file.write_text(file.read_text().replace("k", "held"))
    assert "training rows at" not in " ".join(notes(spec, hold(made.job_file, spec, made.files, SIMULATED)))
    report = made.run()
    assert "test_training_ids" not in report
    assert "training rows at" not in " ".join(report["warnings"])


def test_each_party_with_the_same_columns_tells_of_its_own_held_out_rows(tmp_path: Path) -> None:
    rows = synthetic(tmp_path, rounds=1)
    for party, new in (("bob", 3), ("alice", 10), ("carol", 9)):
        for table, count in (("rows", 99), ("held", new)):
            file = tmp_path / f"{party}_{table}.csv"
            header, *lines = file.read_text().splitlines()
            cells = [line.partition(",")[2] for line in lines]
            own = [f"{'new' if table == 'held' and n < count else 'r'}{n},{rest}" for n, rest in enumerate(cells)]
            file.write_text("\n".join([header, *own]) + "\n")
    told = [
        "7 of 10 held-out ids are ids of training rows at bob: scores on them are not of new rows",
        "1 of 10 held-out ids is an id of training rows at carol: scores on them are not of new rows",
    ]
    spec = registry.load(rows.write_job())
    found = notes(spec, hold(rows.job_file, spec, rows.files, SIMULATED))
    assert [line for line in found if "training rows at" in line] == told
    report = rows.run()
    assert report["test_training_ids"] == {"bob": 7, "carol": 1}
    assert [line for line in report["warnings"] if "training rows at" in line] == [f"{line}." for line in told]


@pytest.mark.parametrize(
    ("key", "held_out"),
    [
        ("missing", 'missing = "zero"\n'),
        # A default that is written is meant.
        ("missing", 'missing = "error"\n'),
        ("one_hot", 'one_hot = ["age"]\n'),
        ("dates", 'dates = ["age"]\n'),
        ("date_unit", 'date_unit = "hours"\n'),
        ("max_levels", "max_levels = 3\n"),
        ("levels", 'levels = { city = ["Bonn", "Ulm"] }\n'),
        ("indicators", 'indicators = ["age"]\n'),
    ],
)
def test_a_key_of_held_out_rows_that_would_have_no_effect_is_refused(tmp_path: Path, key: str, held_out: str) -> None:
    federation = gappy(tmp_path, held_out=held_out)
    with pytest.raises(ConfigError) as caught:
        hold(federation.job_file, federation.spec(), federation.files, SIMULATED)
    assert str(caught.value).startswith(
        f"{federation.files[0]}: datasets.held.{key}: differs from what the training rows shop_rows.csv have"
    )


@pytest.mark.parametrize(
    ("held_out", "reason"),
    [
        ('columns = ["age"]\n', r"datasets.held.columns: does not list 'city', a column of the training rows"),
        ('exclude = ["city"]\n', r"datasets.held.exclude: 'city' is used of the training rows shop_rows.csv"),
        # What no job may predict, it may not predict of held-out rows either.
        ('exclude = ["y"]\n', r"datasets.held.exclude: 'y' is used"),
    ],
)
def test_columns_of_held_out_rows_are_those_of_the_training_rows(tmp_path: Path, held_out: str, reason: str) -> None:
    federation = gappy(tmp_path, held_out=held_out)
    with pytest.raises(ConfigError, match=reason):
        hold(federation.job_file, federation.spec(), federation.files, SIMULATED)


@pytest.mark.parametrize(
    "held_out", [GAPPY_KEYS, 'columns = ["city", "age"]\none_hot = ["city"]\n', 'date_unit = "days"\n']
)
def test_keys_that_say_the_same_are_accepted(tmp_path: Path, held_out: str) -> None:
    federation = gappy(tmp_path, held_out=held_out)
    assert hold(federation.job_file, federation.spec(), federation.files, SIMULATED)


def test_what_the_program_adds_is_no_key_of_a_file(tmp_path: Path) -> None:
    federation = gappy(tmp_path, held_out="given = []\n")
    with pytest.raises(ConfigError, match=r"unknown key 'datasets.held.given'; known: columns, date_unit, dates, excl"):
        hold(federation.job_file, federation.spec(), federation.files, SIMULATED)


@pytest.mark.parametrize(
    ("keys", "key", "needed"),
    [
        ('indicators = ["age"]\nmissing = "mean"\n', "indicators", 'missing = "indicator"'),
        ('date_unit = "hours"\n', "date_unit", "`dates`"),
        ("max_levels = 3\n", "max_levels", "`one_hot`"),
    ],
)
def test_a_key_of_training_rows_without_what_it_is_for_is_refused(
    tmp_path: Path, keys: str, key: str, needed: str
) -> None:
    federation = gappy(tmp_path, own=keys)
    with pytest.raises(ConfigError) as caught:
        hold(federation.job_file, federation.spec(), federation.files, SIMULATED)
    assert f"datasets.rows.{key}: has no effect without {needed}" in str(caught.value)
