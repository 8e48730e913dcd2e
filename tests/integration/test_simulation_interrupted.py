"""A simulation that is interrupted ends at once, with all that it started, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from coordinator.service import Service
from fedbus.cli import simulation
from fedbus.crypto.engine import Engine
from fedbus.service.process import script
from federation import ROLES, Federation
from parties.worker import Worker
from processes import small


@pytest.fixture
def heeded() -> Iterator[None]:
    """Signals by a process of this test, also where a shell or nohup started the tests so that they ignore some."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    made = small(tmp_path, max_epochs=100_000)
    made.write_job()
    return made


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@contextlib.contextmanager
def started(federation: Federation, scratch: Path) -> Iterator[subprocess.Popen[str]]:
    """A simulation that has trained for three rounds of many."""
    command = [*script("fedbus"), "simulate", str(federation.job_file)]
    for file in federation.files:
        command += ["--party", str(file)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FEDBUS_")}
    environment["TMPDIR"] = str(scratch)
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert child.stderr is not None
        assert any("round 3" in line for line in child.stderr)
        yield child
    finally:
        child.kill()
        child.wait()
        if child.stderr is not None:
            child.stderr.close()


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_leaves_nothing_behind(federation: Federation, scratch: Path, number: signal.Signals) -> None:
    with started(federation, scratch) as child:
        assert len(list(scratch.glob("fedbus-simulate-*/shop.db"))) == 1
        child.send_signal(number)
        assert child.stderr is not None
        assert "Traceback" not in child.stderr.read()
        assert child.wait(60) == 130
    assert not list(scratch.iterdir())
    assert not (federation.folder / "state").exists()


def test_one_that_was_killed_does_not_disturb_the_next(
    federation: Federation, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(federation, scratch) as child:
        # What lives keeps its folder, however old it is.
        (running,) = scratch.iterdir()
        os.utime(running, (0, 0))
        monkeypatch.setattr("tempfile.tempdir", str(scratch))
        federation.params["max_epochs"] = 2
        job_file = federation.write_job()
        report = simulation.run(job_file, federation.files, "memory", ROLES, lambda _: None)
        assert report.succeeded
        assert list(scratch.iterdir()) == [running]
        child.kill()
        child.wait()
    os.utime(running, (0, 0))
    with structlog.testing.capture_logs() as logged:
        report = simulation.run(job_file, federation.files, "memory", ROLES, lambda _: None)
    assert report.rounds == 2
    assert not [line for line in logged if line["log_level"] != "info"]
    assert not list(scratch.iterdir()), "it removes what the killed one left"
    assert len(federation.weights(report.job)[0]) > 0


def test_arithmetic_is_taken_from_the_roles_when_all_have_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation, order = small(tmp_path, max_epochs=100_000), []

    def record(kind: type, method: str) -> None:
        original = getattr(kind, method)

        def recorded(this: object) -> None:
            order.append(f"{kind.__name__}.{method}")
            original(this)

        monkeypatch.setattr(kind, method, recorded)

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    for kind, method in ((Engine, "close"), (Service, "stop"), (Worker, "stop")):
        record(kind, method)
    with pytest.raises(KeyboardInterrupt):
        simulation.run(federation.write_job(), federation.files, "memory", ROLES, interrupt)
    assert (sorted(order[:-1]), order[-1]) == (["Service.stop", "Worker.stop", "Worker.stop"], "Engine.close")
