"""`fedbus show`: what a submitter wrote is shown as it is, and obeyed by no terminal."""

from __future__ import annotations

from typing import Any

import pytest

from fedbus.cli import ledger
from fedbus.messages.ledger import JobLine, JobShown, StateLine

LINE = JobLine("job-1", "test", "fedavg", ("bank",), "mallory", "failed", "", 1.0e9, 1.1e9, None, None, "round")


def shown(spec: dict[str, Any], report: dict[str, Any] | None = None) -> JobShown:
    return JobShown(line=LINE, spec=spec, states=[StateLine("failed", "because", 1.1e9)], report=report)


def test_what_a_terminal_would_obey_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    ledger._print(shown({"name": "a\x9b31m\u202eb\x1b[2J", "rounds": 3}))
    printed = capsys.readouterr().out
    assert not set("\x9b\u202e\x1b") & set(printed)
    assert "\\x9b31m" in printed
    assert "rounds = 3" in printed


def test_a_job_that_no_toml_can_say_is_shown_too(capsys: pytest.CaptureFixture[str]) -> None:
    ledger._print(shown({"name": None, "parties": [1, "a"]}))
    assert '"name": null' in capsys.readouterr().out


def test_how_far_a_failed_job_came_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    ledger._print(shown({"name": "test"}, {"state": "failed", "rounds": 7}))
    printed = capsys.readouterr().out
    assert "because" in printed
    assert '"rounds": 7' in printed
