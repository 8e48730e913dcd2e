"""An algorithm is one entry: one of three small modules and one line runs everywhere that the others do."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fedbus.algorithms.registry import named
from places import ROOT

MODULES = {
    "algorithm.py": "fedbus/algorithms/total/algorithm.py",
    "party.py": "parties/total/side.py",
    "coordinator.py": "coordinator/total/side.py",
}
# The line of the registry, whatever algorithms there are.
LINE = re.compile(r"^_FOLDERS = \((.*)\)$", re.MULTILINE)
VALUES = {"shop": [1.5, 2.25, -7.0], "bank": [1000.0, 0.125]}
TOTAL = 996.875

# Processes of a copy compile and load all of it anew, which takes long where other tests run on the same cores.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program to which the algorithm is added, with a job and its parties' files."""
    folder = tmp_path_factory.mktemp("tree")
    for package in ("fedbus", "parties", "coordinator", "tests", "docs", "ops"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    for name, place in MODULES.items():
        (folder / place).parent.mkdir()
        shutil.copy(ROOT / "tests" / "support" / "total" / name, folder / place)
        (folder / place).with_name("__init__.py").touch()
    registry = folder / "fedbus/algorithms/registry.py"
    added, lines = LINE.subn(r'_FOLDERS = (\1, "total")', registry.read_text())
    assert lines == 1
    registry.write_text(added)
    for party, values in VALUES.items():
        rows = "".join(f"{party}{number},{value}\n" for number, value in enumerate(values))
        (folder / f"{party}.csv").write_text(f"id,spent\n{rows}")
        (folder / f"{party}.toml").write_text(
            f'name = "{party}"\nstate = "state/{party}.db"\ndatasets.rows = {{ source = "{party}.csv", id = "id" }}\n'
        )
    parties = "".join(f'[[parties]]\nparty = "{party}"\ndataset = "rows"\n' for party in VALUES)
    (folder / "job.toml").write_text(f'name = "spending"\nalgorithm = "total"\ncolumn = "spent"\n{parties}')
    return folder


def test_the_tutorial_shows_these_modules() -> None:
    shown = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(), re.DOTALL)
    assert shown == [(ROOT / "tests" / "support" / "total" / name).read_text() for name in MODULES]


def fedbus(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, of the copy."""
    given = {**os.environ, "PYTHONPATH": str(tree)}
    files = [word for party in VALUES for word in ("--party", f"{party}.toml")]
    command = [sys.executable, "-m", "fedbus.cli", *arguments[:1], "job.toml", *files, *arguments[1:]]
    return subprocess.run(command, cwd=tree, env=given, capture_output=True, text=True, check=False)


def test_what_holds_for_every_algorithm_holds_for_it(tree: Path) -> None:
    def run(*command: str) -> None:
        given = {**os.environ, "PYTHONPATH": str(tree)}
        done = subprocess.run([sys.executable, *command], cwd=tree, env=given, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    # The page of job files gets its section, as the tutorial says; nothing else is written for it.
    run("ops/pages")
    tests = ("test_architecture.py", "docs", "fedbus/test_what_peers_say.py", "fedbus/test_mutated_messages.py")
    of_it = "total or of_their_own or who_opens or one_name or is_a_package or in_a_circle or first_page"
    run("-m", "pytest", "-q", "-k", of_it, *(f"tests/unit/{test}" for test in tests))
    run("-m", "ruff", "check", *(str(Path(place).parent) for place in MODULES.values()))


@pytest.mark.parametrize("broker", ["memory", "amqp"])
def test_it_runs_on_both_brokers(tree: Path, broker: str) -> None:
    # It is submitted and watched through the queue; on RabbitMQ by processes of their own.
    done = fedbus(tree, "simulate", "--broker", broker, "--json", f"{broker}.json")
    assert done.returncode == 0, done.stderr
    assert "total" in done.stdout
    assert f"{TOTAL:.6f}" in done.stdout
    report = json.loads((tree / f"{broker}.json").read_text())
    assert report["state"] == "succeeded"
    assert report["total"] == report["pooled_total"] == TOTAL
    assert report["rows"] == {party: {"train": len(values), "test": 0} for party, values in VALUES.items()}


def test_it_is_checked_and_planned(tree: Path) -> None:
    done = fedbus(tree, "check")
    assert done.returncode == 0, done.stderr
    done = fedbus(tree, "plan", "--json", "-")
    assert json.loads(done.stdout)["messages"] == 5
    assert "nobody more" in fedbus(tree, "plan").stdout


def test_what_it_refuses_is_told_as_of_any_other(tree: Path) -> None:
    job = tree / "job.toml"
    text = job.read_text()
    try:
        job.write_text(text.replace('"spent"', '"spend"'))
        done = fedbus(tree, "check")
        assert done.returncode != 0
        assert "no column 'spend'; it has spent" in done.stderr
        job.write_text(text.replace("algorithm = ", "algoritm = "))
        assert f"known: {', '.join((*named(), 'total'))}" in fedbus(tree, "check").stderr
    finally:
        job.write_text(text)
