"""Cells of held-out rows that were filled, or of levels that training lacks, are counted; idle keys are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedbus.cli.checks import hold
from fedbus.cli.report import print_report
from fedbus.errors import ConfigError
from federation import GAPPY_KEYS, gappy
from parties.data.gaps import Gaps

SIMULATED = {"FEDBUS_SIMULATION": "true"}


def test_cells_of_held_out_rows_are_counted_beside_those_of_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = gappy(tmp_path).run()
    assert report["state"] == "succeeded"
    assert report["missing_cells"] == {"shop": 1}
    assert report["test_missing_cells"] == {"shop": 3}
    assert report["test_unknown_levels"] == {"shop": 3}
    print_report(report)
    lines = [line.split(maxsplit=3)[3] for line in capsys.readouterr().out.splitlines() if "in held-out rows" in line]
    assert lines == ["shop 3 cells filled, shop 3 cells of levels that its training rows lack"]


def test_nothing_is_counted_where_there_is_nothing() -> None:
    assert Gaps().counts() == {"missing_cells": 0, "test_missing_cells": 0, "test_unknown_levels": 0}


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
