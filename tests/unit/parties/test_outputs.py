"""Predictions of held-out rows as a file of the party: whole, private, in the label's unit, and missed aloud."""

from __future__ import annotations

import csv
import errno
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from fedbus.algorithms import registry
from fedbus.cli.checks import hold
from fedbus.errors import ConfigError, NoPredictions
from fedbus.messages.control import Finished
from fedbus.report import Report, Written
from fedbus.settings import OutputSettings, PartySettings
from federation import Federation, held_out, synthetic
from parties import outputs
from parties.outputs import Predictions

SIMULATED = {"FEDBUS_SIMULATION": "true"}
FULL = {"bytes_sent": 1, "peak_memory_bytes": 1}


def party(folder: Path, name: str = "out/held", *, simulation: bool = False) -> PartySettings:
    return PartySettings(
        name="shop", state="shop.db", folder=str(folder), outputs=OutputSettings(name), simulation=simulation
    )


def told(rows: int = 2) -> Predictions:
    return Predictions([f'"{row}", x' for row in range(rows)], np.arange(rows) / 3, np.arange(rows) / 7)


def with_predictions(folder: Path, place: str = "predictions") -> Federation:
    """A vertical job with held-out rows, whose guest wants their predictions in this folder."""
    made = synthetic(folder)
    held_out(made, 12)
    shop = made.files[0]
    shop.write_text(f'{shop.read_text()}[outputs]\nfolder = "{place}"\n')
    made.write_job()
    return made


def test_a_file_holds_what_it_was_given(tmp_path: Path) -> None:
    assert outputs.keep(party(tmp_path), "job-1", told()) == {"predictions": {"written": True}}
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
    assert outputs.keep(party(tmp_path, ""), "job-1", told()) == {}
    assert outputs.keep(party(tmp_path), "job-1", None) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["in_the_way/held", "/proc/held", r"a\u0000b"])
def test_a_folder_that_takes_no_file_is_named_before_the_job(tmp_path: Path, place: str) -> None:
    (tmp_path / "in_the_way").write_text("")
    federation = with_predictions(tmp_path, place)
    spec, shop = federation.spec(), federation.files[0]
    with pytest.raises(NoPredictions) as caught:
        hold(federation.job_file, spec, federation.files, SIMULATED)
    text = str(caught.value)
    assert text.startswith(f"{shop}: outputs.folder: predictions of held-out rows cannot be written to ")
    assert text.endswith("; name another folder, or let this user write there")


def test_a_file_is_tried_and_not_only_the_folders_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = with_predictions(tmp_path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"outputs.folder: .*\(No space left on device\)"):
        hold(federation.job_file, federation.spec(), federation.files, SIMULATED)
    monkeypatch.undo()
    hold(federation.job_file, federation.spec(), federation.files, SIMULATED)
    assert list((tmp_path / "predictions").iterdir()) == []


def test_nothing_is_tried_where_no_predictions_will_be(tmp_path: Path) -> None:
    federation = with_predictions(tmp_path, "/proc/held")
    federation.test = ""
    federation.write_job()
    hold(federation.job_file, federation.spec(), federation.files, SIMULATED)


def test_a_party_refuses_the_job_and_tells_others_no_path(tmp_path: Path) -> None:
    federation = with_predictions(tmp_path, "/proc/held")
    report = federation.run()
    assert (report["state"], "outputs.folder" in report["reason"]) == ("failed", True)
    told = NoPredictions(report["reason"]).told
    assert told == "it cannot write its predictions of held-out rows; its log says more"


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.ENOSPC, "its disk is full"), (errno.EACCES, "its folder takes none")]
)
def test_what_cannot_be_written_at_the_end_is_told_without_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path))

    monkeypatch.setattr(outputs, "write_whole", refuse)
    with capture_logs() as logs:
        found = outputs.keep(party(tmp_path), "job-1", told())
    assert found == {"predictions": {"written": False, "reason": f"{reason}; its log says more"}}
    assert [(entry["event"], entry["error"]) for entry in logs] == [
        ("predictions cannot be written", os.strerror(number))
    ]
    # Where all are one operator's, everything is told.
    simulated = outputs.keep(party(tmp_path, simulation=True), "job-1", told())
    assert simulated["predictions"]["reason"] == f"{tmp_path / 'out/held/job-1.csv'}: {os.strerror(number)}"
    Finished({**FULL, **found}).check()


@pytest.mark.parametrize("told", ["yes", {"written": 1}, {"reason": "x"}, {"written": False, "reason": 1}])
def test_what_a_party_says_of_its_predictions_is_held_to_its_types(told: Any) -> None:
    with pytest.raises(ValueError, match=r"figures.predictions: "):
        Finished({**FULL, "predictions": told}).check()


def test_a_job_says_where_predictions_are_and_warns_where_they_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fedbus.cli.report import print_report

    federation = with_predictions(tmp_path)
    report = federation.run()
    file = tmp_path / "predictions" / f"{report['job']}.csv"
    assert report["predictions"] == {"shop": {"written": True, "file": str(file)}}
    assert file.exists()
    assert not any("predictions" in warning for warning in report["warnings"])
    print_report(registry.read_report(report))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if line.startswith("predictions")] == [["predictions", "shop:", str(file)]]

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(outputs, "write_whole", refuse)
    report = federation.run()
    assert report["state"] == "succeeded"
    (warning,) = [each for each in report["warnings"] if "predictions" in each]
    assert warning.startswith("shop has the model, but could not write the predictions of its held-out rows: ")
    assert warning.endswith("No space left on device.")
    print_report(registry.read_report(report))
    assert f"warning: {warning}\n" in capsys.readouterr().out


def test_a_warning_is_told_once() -> None:
    failed = {"shop": Written(written=False, reason="its disk is full")}
    report = Report(job="j", state="succeeded", predictions=failed).cautioned().cautioned()
    assert len(report.warnings) == 1
