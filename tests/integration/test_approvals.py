"""A party's operator answers a running process, which is killed meanwhile, and reads its audit log while it works."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedbus.cli import app
from fedbus.cli.app import invoke
from fedbus.client import Client
from fedbus.messages.control import Notice, StateChanged
from federation import synthetic
from keyring import key_files
from processes import WAIT, Processes, follow

Start = Callable[..., Processes]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a command of the operator of bank; what it wrote as JSON, or its text."""
    files = key_files(tmp_path / "keys", "bank", "shop", "bank").environment()

    def made(*arguments: str) -> Any:
        with monkeypatch.context() as patch:
            for name, file in files.items():
                patch.setenv(name, file)
            capsys.readouterr()
            assert invoke(app, [*arguments]) == 0
        text = capsys.readouterr().out
        return json.loads(text) if "--json" in arguments else text

    return made


def waiting(client: Client, job: str) -> str:
    """What watchers are told, once the job waits for an operator."""
    for event in client.watch(job, WAIT):
        assert not (isinstance(event, StateChanged) and event.state in ("failed", "succeeded")), event
        if isinstance(event, Notice) and "operator" in event.text:
            return event.text
    raise AssertionError("unreachable")


def test_a_job_on_hold_survives_a_crash_and_goes_on_once_approved(
    tmp_path: Path, processes: Start, client: Client, run: Callable[..., Any]
) -> None:
    federation, file = synthetic(tmp_path, max_epochs=5), str(tmp_path / "bank.toml")
    federation.limits = {"join": WAIT, "resend": 1.0}
    text = Path(file).read_text()
    Path(file).write_text(text + '[policy]\nask = true\nsubmitters = ["client"]\ninsecure_for_tests = true\n')
    running = processes(federation)
    running.start("coordinator", "shop")
    running.start("bank", FEDBUS_SIMULATION="false")
    job = client.submit(federation.spec())
    assert waiting(client, job).startswith("bank: ")
    (question,) = run("party", "pending", file, "--json", "-")["pending"]
    assert (question["job"], question["submitter"], question["epochs"]) == (job, "client", 5)
    running.end("bank", signal.SIGKILL)
    # The answer is given while nobody is there to hear it.
    assert run("party", "approve", file, job) == f"bank: job {job} approved\n"
    running.start("bank", FEDBUS_SIMULATION="false")
    report = follow(client, job)
    assert report["state"] == "succeeded", report
    # Read beside the running process, which has signed nothing of this job yet.
    events = [record["event"] for record in run("audit", "show", file, "--job", job, "--json", "-")["records"]]
    assert events[:3] == ["approved", "accepted", "release"]
    assert run("audit", "verify", file, "--json", "-")["records"] >= len(events)
    assert set(running.end_all().values()) == {0}
    verdict = run("audit", "verify", file, "--json", "-")
    assert verdict["signed"] == verdict["records"]
    assert not list((tmp_path / "state" / "bank.db.approvals").iterdir())


def test_a_job_of_another_client_is_refused_before_the_operator_is_asked(
    tmp_path: Path, processes: Start, client: Client
) -> None:
    federation, file = synthetic(tmp_path), tmp_path / "bank.toml"
    file.write_text(file.read_text() + '[policy]\nask = true\nsubmitters = ["olga"]\ninsecure_for_tests = true\n')
    running = processes(federation)
    running.start("coordinator", "shop")
    running.start("bank", FEDBUS_SIMULATION="false")
    report = follow(client, client.submit(federation.spec()))
    assert report["state"] == "failed"
    assert "bank: this party takes part in no job of 'client'" in report["reason"]
    assert "`submitters`" in report["reason"]
    assert not (tmp_path / "state" / "bank.db.approvals").exists()
