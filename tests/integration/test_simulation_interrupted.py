"""A simulation that is interrupted ends at once, with all that it started, and leaves no job behind to go on with."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.service import Service
from fedbus import simulate
from fedbus.crypto.engine import Engine
from fedbus.jobs import JobState
from fedbus.process import script
from fedbus.store import Store
from federation import ROLES
from parties.worker import Worker
from processes import small


@pytest.fixture
def heeded() -> Iterator[None]:
    """SIGINT by a process of this test, also where a shell started the tests in the background, to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_its_job_is_cancelled_in_the_stores_of_the_parties(tmp_path: Path, number: signal.Signals) -> None:
    federation = small(tmp_path, max_epochs=100_000)
    federation.write_job()
    command = [*script("fedbus"), "simulate", str(federation.job_file)]
    for file in federation.files:
        command += ["--party", str(file)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FEDBUS_")}
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert child.stderr is not None
        assert any("round 3" in line for line in child.stderr)
        child.send_signal(number)
        child.stderr.read()
        assert child.wait(60) == 130
    finally:
        child.kill()
        child.wait()
        if child.stderr is not None:
            child.stderr.close()
    for party in federation.settings():
        with Store(party.path(party.state)) as store:
            (record,) = store.jobs()
            assert (record.state, record.reason) == (JobState.CANCELLED, "the simulation was interrupted")
            assert not store.unfinished()


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
        simulate.run(federation.write_job(), federation.files, "memory", ROLES, interrupt)
    assert (sorted(order[:-1]), order[-1]) == (["Service.stop", "Worker.stop", "Worker.stop"], "Engine.close")
