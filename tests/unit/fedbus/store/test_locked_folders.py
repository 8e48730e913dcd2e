"""A path below a folder that this user may not enter is an error with a sentence, wherever it is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedbus.statuses import Status
from federation import Federation, synthetic
from locked import bound, commands, lock, unlock
from places import ROOT

SOURCES = sorted(file for package in ("fedbus", "parties", "coordinator") for file in (ROOT / package).rglob("*.py"))


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    folder = lock(tmp_path / "closed")
    yield folder
    unlock(folder)


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    made = synthetic(tmp_path)
    made.write_job()
    for file in made.files:
        file.write_text(file.read_text() + "[policy]\ninsecure_for_tests = true\n")
    return made


def variant(federation: Federation, name: str, old: str, new: str) -> str:
    """The file of the shop with one thing otherwise."""
    file, text = federation.folder / f"{name}.toml", federation.files[0].read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return str(file)


def test_every_command_says_which_folder_it_may_not_enter(federation: Federation, closed: Path) -> None:
    job, (shop, bank) = str(federation.job_file), [str(file) for file in federation.files]
    both = ["--party", shop, "--party", bank]
    source = variant(federation, "source", str(federation.folder / "shop.csv"), str(closed / "x.csv"))
    state = variant(federation, "state", "state/shop.db", str(closed / "s" / "shop.db"))
    identity = variant(federation, "identity", 'name = "shop"', f'name = "shop"\nidentity = "{closed}/s.key"')
    unlinked = federation.folder / "link.csv"
    unlinked.symlink_to(closed / "x.csv")
    linked = variant(federation, "linked", str(federation.folder / "shop.csv"), str(unlinked))
    report = ["--json", str(closed / "r.json")]
    lines = {
        "simulate": (["simulate", job, *both, *report], Status.CONFIGURATION),
        "plan": (["plan", job, "--rows", "100", *report], Status.CONFIGURATION),
        "watch": (["watch", "job-1", *report], Status.CONFIGURATION),
        "source": (["check", job, "--party", source], Status.DATA),
        "linked": (["check", job, "--party", linked], Status.DATA),
        "state": (["simulate", job, "--party", state, "--party", bank], Status.STORE),
        "keep": (["simulate", job, *both, "--keep", str(closed / "kept")], Status.CONFIGURATION),
        "model": (["model", str(closed / "x.db")], Status.STORE),
        "identity": (["identity", identity], Status.CONFIGURATION),
        "job": (["check", str(closed / "job.toml")], Status.CONFIGURATION),
        "definitions": (
            ["broker", str(federation.folder / "b"), "--definitions", str(closed / "d.json")],
            Status.CONFIGURATION,
        ),
    }
    told = dict(zip(lines, commands([arguments for arguments, _ in lines.values()]), strict=True))
    assert {name: status for name, (status, _) in told.items()} == {name: status for name, (_, status) in lines.items()}
    for _, error in told.values():
        last = error.strip().splitlines()[-1]
        assert last.startswith("error: ")
        assert f"this user may not enter the folder {closed}; let this user in, or name another path" in last


_OPEN = """
import json, os, sys
from pathlib import Path
from fedbus import files
from fedbus.broker.node.server import find_server
from fedbus.errors import FedbusError
from fedbus.store.sqlite import SqliteStore

given, told = Path(json.load(sys.stdin)), []
for attempt in (lambda: SqliteStore(given), lambda: find_server({"FEDBUS_RABBITMQ": str(given)})):
    try:
        attempt()
    except FedbusError as error:
        told.append(str(error))
json.dump(told, sys.stdout)
"""


def test_services_say_it_too(closed: Path) -> None:
    told = bound(_OPEN, str(closed / "bank.db"))
    assert len(told) == 2
    assert all(f"this user may not enter the folder {closed}" in line for line in told)


_JOB = """
import contextlib, io, json, sys
from pathlib import Path

support, folder, source = json.load(sys.stdin)
sys.path.insert(0, support)

import msgspec
from fedbus.cli.simulation import Roles
from federation import ROLES, synthetic
from parties.worker import Worker

def stranger(config, *rest):
    return Worker(msgspec.structs.replace(config, simulation=False), *rest)

made = synthetic(Path(folder))
shop = made.files[0]
shop.write_text(shop.read_text().replace(str(made.folder / "shop.csv"), source))
logged = io.StringIO()
with contextlib.redirect_stderr(logged), contextlib.redirect_stdout(logged):
    report = made.run(roles=Roles(ROLES.coordinator, stranger, ROLES.compare))
json.dump([report["state"], report["reason"], logged.getvalue()], sys.stdout)
"""


def test_a_party_tells_its_kind_of_trouble_and_its_log_the_folder(tmp_path: Path, closed: Path) -> None:
    support = ROOT / "tests" / "support"
    (tmp_path / "job").mkdir()
    state, told, logged = bound(_JOB, [str(support), str(tmp_path / "job"), str(closed / "x.csv")])
    assert (state, told) == ("failed", "shop: its data do not fit the job; its log says more")
    assert f"this user may not enter the folder {closed}" in logged
    assert "Traceback" not in logged


def test_a_folder_that_may_be_entered_and_not_listed(federation: Federation, tmp_path: Path) -> None:
    hidden = lock(tmp_path / "hidden", 0o711)
    source = variant(federation, "source", str(federation.folder / "shop.csv"), str(hidden / "x.csv"))
    ((status, told),) = commands([["check", str(federation.job_file), "--party", source]])
    unlock(hidden)
    assert status == Status.DATA
    assert "error: x.csv: " in told


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_only_one_module_asks_what_lies_at_a_path(file: Path) -> None:
    if file.parts[-2:] != ("fedbus", "files.py"):
        asked = re.findall(r"(?<!files)\.(?:exists|is_file|is_dir|resolve)\(|os\.path\.", file.read_text())
        assert asked == []
