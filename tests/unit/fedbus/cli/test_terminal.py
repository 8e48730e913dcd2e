"""What a script reads is plain whatever the terminal is; what cannot be shown or written is said, and is not lost."""

from __future__ import annotations

import io
import json
import math
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fedbus import terminal
from fedbus.algorithms import registry
from fedbus.algorithms.facts import curve
from fedbus.cli import report as reports_on_terminal
from fedbus.cli.app import app, invoke
from fedbus.cli.report import to_json
from fedbus.cli.reports import check_writable, finish, write
from fedbus.errors import ConfigError, JobFailed, OutputError
from fedbus.files import write_whole
from fedbus.report import Report
from fedbus.service.process import script

LONG = "a-name-of-sixty-letters-that-is-longer-than-any-narrow-terminal"
SURROUNDINGS: list[dict[str, str]] = [
    {"COLUMNS": "20"},
    {"COLUMNS": "20", "FORCE_COLOR": "1"},
    {"COLUMNS": "20", "FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"},
    {"TERM": "dumb", "COLUMNS": "1"},
    {"NO_COLOR": "1", "COLUMNS": "40"},
]


def report(**more: Any) -> Report:
    """A small report of a vertical job."""
    found: dict[str, Any] = {"job": f"{LONG}-0123456789abcdef", "algorithm": "vertical-linear", "state": "succeeded"}
    found |= {"seconds": 1.0, "rows": {"shop": {"train": 9}}, "aligned_rows": 9, "rounds": 3, "epochs": 3}
    found |= {"converged": True, "loss": [3.0, 2.0, 1.0], "final_loss": 1.0, "bytes_sent": {"shop": 1}}
    found |= {"train": {"mse": 1.0, "rmse": 1.0, "r2": 0.5}, "round_latency_seconds": {"p50": 1.0, "p99": 1.0}}
    found |= {"metrics": {"shop": "http://127.0.0.1:1/metrics"}}
    pair = {"federated": 1.25, "pooled": 1.5}
    found |= {"coefficients": {"shop": {LONG: pair}}, "intercept": pair}
    return registry.read_report(found | more)


@pytest.mark.parametrize("surroundings", SURROUNDINGS, ids=str)
def test_a_line_is_never_broken_cropped_or_coloured(
    surroundings: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, value in surroundings.items():
        monkeypatch.setenv(key, value)
    reports_on_terminal.print_report(report())
    assert invoke(app, ["info"]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    lines = printed.splitlines()
    assert f"job            {LONG}-0123456789abcdef succeeded after 1.0 s" in lines
    assert [line.split() for line in lines if LONG in line][1:] == [["shop", LONG, "1.250000", "1.500000", "2.5e-01"]]
    assert any(line.startswith("libraries") and "torch" in line for line in lines)


def test_on_a_narrow_terminal_too() -> None:
    primary, secondary = pty.openpty()
    environment = {**os.environ, "COLUMNS": "20", "TERM": "xterm"}
    child = subprocess.Popen([*script("fedbus"), "info"], stdout=secondary, env=environment)
    os.close(secondary)
    shown = b""
    try:
        while part := os.read(primary, 4096):
            shown += part
    except OSError:
        pass  # all have closed the terminal
    os.close(primary)
    assert child.wait(60) == 0
    assert b"\x1b" not in shown
    assert [line.split()[0] for line in shown.splitlines()] == [
        *(b"fedbus", b"python", b"processors", b"libraries", b"arithmetic"),
    ]


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_a_report_is_shown_in_any_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(held, encoding=encoding))
    terminal.prepare()
    named = {"Größe €": {"federated": 1.0, "pooled": 1.0}, "\udcff": {"federated": 1.0, "pooled": 1.0}}
    reports_on_terminal.print_report(report(coefficients={"shop": named}))
    shown = held.getvalue().decode(encoding)
    wanted = {"latin-1": "Größe \\u20ac", "ascii": "Gr\\xf6\\xdfe \\u20ac", "utf-8": "Größe €"}
    assert wanted[encoding] in shown
    assert "\\udcff" in shown
    assert ("█▄▁" if encoding == "utf-8" else "#-_") in shown


def test_what_a_terminal_would_obey_is_shown_as_an_escape(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say("a\x1b[2Jb\nsucceeded\r\x9b1m\u202ec\tö\u200b\u200e")
    assert capsys.readouterr().out == "a\\x1b[2Jb\\nsucceeded\\r\\x9b1m\\u202ec\tö\\u200b\\u200e\n"


def test_a_loss_with_the_ridge_term_and_one_without_it_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    reports_on_terminal.print_report(report(l2=0.3, loss=[3.0, 2.0, 1.5]))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("loss ")]
    assert "3 at first, 1.5 in the last round, with the ridge term; 1 at the end without it" in line


def test_losses_of_any_size_make_a_curve() -> None:
    assert curve([math.inf, 2.0, math.nan, 1.0], "_#") == "#_"
    assert curve([1e308, -1e308, 0.0], "_-#") == "#_-"
    assert curve([math.inf], "_#") == curve([], "_#") == ""


def test_a_device_that_takes_nothing_costs_neither_the_report_nor_the_word_about_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(OutputError, match="/dev/full cannot be written: No space left") as raised:
        finish(report(), Path("/dev/full"))
    assert "succeeded after" in capsys.readouterr().out
    (kept,) = tmp_path.iterdir()
    assert str(kept) in str(raised.value)
    assert json.loads(kept.read_text())["job"] == report().job
    assert Path("/dev/full").is_char_device()
    with pytest.raises(OutputError, match="`fedbus watch"):
        finish(report(), Path("/dev/full"), "`fedbus watch j --json FILE` has it again")


def test_standard_output_that_takes_nothing_does_not_cost_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "report.json"
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(OutputError, match="standard output cannot be written: No space left"):
            finish(report(), file)
    assert json.loads(file.read_text())["rounds"] == 3
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OutputError, match="standard output is closed"):
        finish(report(rounds=4), file)
    assert json.loads(file.read_text())["rounds"] == 4


def test_a_reader_that_has_seen_enough_is_no_error_in_words(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert invoke(app, ["info"]) == 141
    assert capfd.readouterr().err == ""


def test_a_job_that_failed_is_the_error_also_where_its_report_cannot_be_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(JobFailed, match="failed: why"):
        finish(Report(job="j", state="failed", reason="why"), Path("/dev/full"), "ask again")
    assert "error: /dev/full cannot be written" in capsys.readouterr().err


def test_json_has_no_numbers_that_json_has_not() -> None:
    values = {"a": [math.nan, 1.0, (math.inf, "NaN")], "b": {"c": -math.inf, "d": 2}}
    assert json.loads(to_json(values), parse_constant=pytest.fail) == {
        "a": [None, 1.0, [None, "NaN"]],
        "b": {"c": None, "d": 2},
    }


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "report.json"
    file.write_text("before")
    file.chmod(0o640)

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OutputError, match="No space left"):
            write({"a": 1}, file)
    assert file.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["report.json"]
    link = tmp_path / "link.json"
    link.symlink_to(file)
    write_whole(link, "after")
    assert (link.is_symlink(), file.read_text(), file.stat().st_mode & 0o777) == (True, "after", 0o640)


def test_a_place_that_takes_no_file_is_told_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"--json: {tmp_path} is a folder; name a file, {tmp_path}/report\.json for"):
        check_writable(tmp_path)
    with pytest.raises(
        ConfigError, match=rf"--json: .* cannot be written: there is no folder {tmp_path}/none; make it"
    ):
        check_writable(tmp_path / "none" / "report.json")
    check_writable(tmp_path / "report.json")
    check_writable(Path("-"))


def test_closed_descriptors_are_not_given_to_the_next_file(tmp_path: Path) -> None:
    program = (
        "from fedbus import terminal; terminal.prepare(); "
        f"file = open({str(tmp_path / 'store')!r}, 'w'); print(file.fileno() > 2, file=file)"
    )
    command = ["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, program]
    assert subprocess.run(command, check=False).returncode == 0
    assert (tmp_path / "store").read_text() == "True\n"
