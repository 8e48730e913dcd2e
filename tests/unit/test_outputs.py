"""Predictions of held-out rows as a file of the party: whole, private, and in the label's unit."""

from __future__ import annotations

import csv
import stat
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from fedbus.errors import ConfigError
from fedbus.settings import OutputSettings, PartySettings
from parties import outputs
from parties.outputs import Predictions


def party(folder: Path, name: str = "out/held") -> PartySettings:
    return PartySettings(name="shop", state="shop.db", folder=str(folder), outputs=OutputSettings(name))


def told(rows: int = 2) -> Predictions:
    return Predictions([f'"{row}", x' for row in range(rows)], np.arange(rows) / 3, np.arange(rows) / 7)


def test_a_file_holds_what_it_was_given(tmp_path: Path) -> None:
    outputs.keep(party(tmp_path), "job-1", told())
    file = tmp_path / "out" / "held" / "job-1.csv"
    rows = list(csv.reader(file.read_text().splitlines()))
    assert rows == [["id", "label", "score"], ['"0", x', "0.0", "0.0"], ['"1", x', repr(1 / 3), repr(1 / 7)]]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    # A restart writes it again.
    outputs.keep(party(tmp_path), "job-1", told(1))
    assert len(file.read_text().splitlines()) == 2
    assert [each.name for each in file.parent.iterdir()] == ["job-1.csv"]


def test_probabilities_have_columns_of_their_own() -> None:
    text = Predictions(["a"], np.array([1.0]), np.array([0.0]), np.array([[0.75, 0.25]])).to_csv()
    assert text == "id,label,score,probability_0,probability_1\na,1.0,0.0,0.75,0.25\n"


def test_nothing_is_written_where_none_is_wanted(tmp_path: Path) -> None:
    outputs.keep(party(tmp_path, ""), "job-1", told())
    outputs.keep(party(tmp_path), "job-1", None)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_no_file_is_named_before_and_costs_no_model_after(tmp_path: Path) -> None:
    outputs.check(party(tmp_path))
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(ConfigError, match=r"shop's party file: outputs.folder: no file can be written in .*/out;"):
        outputs.check(party(tmp_path))
    with capture_logs() as logs:
        outputs.keep(party(tmp_path), "job-1", told())
    assert [entry["event"] for entry in logs] == ["predictions cannot be written"]
