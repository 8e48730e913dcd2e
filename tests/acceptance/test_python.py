"""What docs/howto/python.md shows, run as it stands, and what it says of the process that calls `fedbus.simulate`."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import structlog

import fedbus
from fedbus import metrics
from fedbus.algorithms import registry
from fedbus.broker.memory.broker import MemoryHub
from fedbus.crypto.engine import Engine
from fedbus.errors import ConfigError, JobFailed
from fedbus.settings import CoordinatorSettings, load_party
from fedbus.store.sqlite import SqliteStore
from federation import ROLES, Federation, synthetic
from keyring import introduced, key_files
from places import ROOT

PAGE = ROOT / "docs/howto/python.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def snippet(word: str) -> str:
    (found,) = [text for text in SNIPPETS if word in text]
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the paths of the page are right."""
    (tmp_path / "ops").symlink_to(ROOT / "ops")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small(tmp_path: Path) -> Federation:
    made = synthetic(tmp_path, solver="gram")
    made.write_job()
    return made


def test_every_snippet_but_those_of_scripts_and_brokers_runs_in_one_notebook(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left: dict[str, Any] = {"__name__": "notebook"}
    for text in SNIPPETS:
        if "__main__" not in text and "Client" not in text:
            exec(compile(text, PAGE.name, "exec"), left)  # noqa: S102  # our own document
    report = left["report"]
    assert report.test["r2"] == pytest.approx(report.pooled_test["r2"], abs=1e-6)
    printed, logged = capsys.readouterr()
    assert f"{report.rounds} rounds in" in printed
    assert f"round {len(left['seen'])}: loss" in printed
    assert logged == ""
    assert left["points"] == [*enumerate(report.loss, 1)]
    assert left["frame"]["round"].tolist() == [*range(1, report.rounds + 1)]
    assert left["frame"]["loss"].tolist() == report.loss
    assert (folder / "state/shop.db").exists()


def test_the_script_of_the_page_runs(small: Federation) -> None:
    script = small.folder / "train.py"
    script.write_text(snippet("# train.py"))
    done = subprocess.run([sys.executable, script], cwd=small.folder, capture_output=True, text=True, check=False)
    assert re.fullmatch(r"<LinearReport test-\w+: succeeded after \d+ rounds, [\d.]+ s>\n", done.stdout), done.stderr
    assert done.stderr == ""


@pytest.fixture
def hub(small: Federation) -> Iterator[MemoryHub]:
    """The coordinator and the parties of a federation at work."""
    hub, engine, spec = MemoryHub(), Engine(0), small.spec()
    page = metrics.Server("127.0.0.1:0")
    services, stores, connections = [], [], []
    roles: list[tuple[Any, Any]] = [(ROLES.coordinator, CoordinatorSettings(parties=spec.parties))]
    roles += [(ROLES.party, load_party(file, {"FEDBUS_SIMULATION": "true"})) for file in small.files]
    for role, given in roles:
        settings = introduced(given, small.folder / "keys")
        stores.append(SqliteStore(small.folder / f"serving-{settings.name}.db"))
        connections.append(hub.connect(settings.name))
        services.append(role(settings, connections[-1], stores[-1], engine, page.url))
        services[-1].start()
    yield hub
    for service in services:
        service.stop()
    engine.close()
    for connection in connections:
        connection.close()
    for service in services:
        service.join()
    for store in stores:
        store.close()
    page.close()


def test_the_client_of_the_page_gets_the_report(
    small: Federation, hub: MemoryHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = []

    def connected(url: str, **_: object) -> Any:
        urls.append(url)
        broker = hub.connect("carol")
        # Of the real one, which connects when it is told to.
        monkeypatch.setattr(broker, "connect", lambda: None, raising=False)
        return broker

    monkeypatch.setattr("fedbus.client.AmqpBroker", connected)
    for name, file in key_files(small.folder / "keys", "carol").environment().items():
        monkeypatch.setenv(name, file)
    left: dict[str, Any] = {"fedbus": fedbus, "job": small.spec().to_map()}
    exec(compile(snippet("Client.connect"), PAGE.name, "exec"), left)  # noqa: S102  # our own document
    report = left["report"]
    assert urls == ["amqps://carol:PASSWORD@broker.example:5671/"]
    assert (type(report).__name__, report.job, report.succeeded) == ("LinearReport", left["name"], True)
    assert report.pooled_train is None
    assert not any(thread.name == "fedbus-deliveries-carol" for thread in threading.enumerate())


def test_a_simulation_leaves_the_process_as_it_was(
    small: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    threads, is_configured = {*threading.enumerate()}, structlog.is_configured()
    # Neither the main thread nor the only one.
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(fedbus.simulate, small.job_file, small.files) for _ in range(2)]
        reports = [job.result() for job in jobs]
    assert len({report.job for report in reports}) == 2
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == handlers
    assert {*threading.enumerate()} <= threads
    assert structlog.is_configured() is is_configured
    assert not list(scratch.iterdir())
    assert capfd.readouterr() == ("", "")


def test_a_script_without_the_line_that_it_needs_is_told_so(small: Federation) -> None:
    script = small.folder / "train.py"
    script.write_text("import fedbus\nfedbus.simulate('job.toml', ['shop.toml', 'bank.toml'])\n")
    done = subprocess.run([sys.executable, script], cwd=small.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'fedbus.simulate: call it below `if __name__ == "__main__":`' in done.stderr
    assert 'below `if __name__ == "__main__":`, for child processes import it' in done.stderr.splitlines()[-1]


def test_it_runs_in_a_running_event_loop(small: Federation) -> None:
    """As a cell of a notebook does; its main module has no file either."""
    code = (
        "import asyncio, fedbus\n"
        "async def cell():\n"
        "    return fedbus.simulate('job.toml', ['shop.toml', 'bank.toml'])\n"
        "print(asyncio.run(cell()).succeeded)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=small.folder, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_what_progress_raises_ends_the_simulation(small: Federation) -> None:
    class Enough(Exception):
        pass

    def stop(event: object) -> None:
        if isinstance(event, fedbus.Progress):
            raise Enough

    with pytest.raises(Enough):
        fedbus.simulate(small.job_file, small.files, progress=stop)


def test_maps_and_specifications_do_as_well_as_files(small: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small.folder)
    parties = [
        {"name": party, "state": f"own/{party}.db", "datasets": {"rows": {"source": f"{party}.csv", "id": "id"}}}
        for party in ("shop", "bank")
    ]
    kept = small.folder / "kept"
    report = fedbus.simulate(small.spec(), parties, keep=kept)
    assert isinstance(report, registry.algorithm_of(small.spec()).report)
    assert json.loads((kept / "report.json").read_text())["job"] == report.job
    assert (small.folder / "own/bank.db").exists()
    assert "policy" not in parties[0], "what the caller has stays as it is"


def test_what_is_wrong_is_said_before_anything_starts(small: Federation) -> None:
    job = small.spec().to_map()
    shop = {"name": "shop", "state": "s.db", "datasets": {"rows": {"source": "none.csv", "id": "id"}}}
    with pytest.raises(ConfigError, match=r"no party file of 'bank' is given in `parties`; given: shop"):
        fedbus.simulate(job, small.files[:1])
    with pytest.raises(ConfigError, match=r"parties\[1\]: unknown key 'dataset'; did you mean 'datasets'\?"):
        fedbus.simulate(job, [small.files[0], {**shop, "dataset": {}}])
    with pytest.raises(ConfigError, match="job: unknown key 'gest'"):
        fedbus.simulate({**job, "gest": {}}, small.files)


def test_a_job_that_fails_is_an_error(tmp_path: Path) -> None:
    diverging = synthetic(tmp_path, solver="sgd", learning_rate=1e6)
    diverging.write_job()
    with pytest.raises(JobFailed, match=r"^job test-\w+ failed: .*learning_rate"):
        fedbus.simulate(diverging.job_file, diverging.files)


def test_the_page_shows_real_columns() -> None:
    """A column that the page names is in the table that it names."""
    with (ROOT / "ops/data/sample/products.csv").open() as file:
        assert {"MEDV", "user_id"} <= {*next(csv.reader(file))}
