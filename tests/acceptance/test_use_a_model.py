"""What reads a stored model in Python, run as the page on models shows it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pages
from fedbus.cli.app import app, invoke
from places import ROOT

HOWTO = ROOT / "docs/howto"
PAGE = HOWTO / "use-a-model.md"
JOB_ID = "house-prices-..."


def snippet(*words: str) -> str:
    """The one snippet that has all these words."""
    found = [block.text for block in pages.blocks(PAGE) if block.language == "python"]
    (one,) = [text for text in found if all(word in text for word in words)]
    return one


def run(text: str, job: str) -> dict[str, Any]:
    """The names that a snippet leaves, run in the current folder with a job's id in place of the page's."""
    assert JOB_ID in text
    left: dict[str, Any] = {}
    exec(compile(text.replace(JOB_ID, job), PAGE.name, "exec"), left)  # noqa: S102  # our own document
    return left


def predicted(folder: Path, job: str) -> dict[str, float]:
    """By id, what a job wrote of its held-out rows."""
    with (folder / f"{job}.csv").open(newline="") as file:
        return {row["id"]: float(row["score"]) for row in csv.DictReader(file)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the paths of the page are right."""
    (tmp_path / "ops").symlink_to(ROOT / "ops")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def simulated(job_file: str, *parties: str) -> dict[str, Any]:
    named = [word for party in parties for word in ("--party", f"{party}.toml")]
    assert invoke(app, ["check", job_file, *named]) == 0
    assert invoke(app, ["simulate", job_file, *named, "--json", "report.json"]) == 0
    report: dict[str, Any] = json.loads(Path("report.json").read_text())
    return report


def test_an_averaged_model_is_read_and_predicts(folder: Path) -> None:
    Path("prices.toml").write_text(pages.saved(HOWTO / "horizontal-data.md", "prices.toml"))
    bob = pages.saved(HOWTO / "horizontal-data.md", "bob.toml")
    Path("bob.toml").write_text(bob + '[outputs]\nfolder = "predictions"\n')
    Path("alice.toml").write_text(bob.replace("bob", "alice"))
    job = simulated("prices.toml", "bob", "alice")["job"]
    left = run(snippet("state/bob.db"), job)
    expected = predicted(folder / "predictions", job)
    found = {row["tract"]: float(value) for row, value in zip(left["rows"], left["predicted"], strict=True)}
    assert found == pytest.approx(expected, rel=1e-5)
    # The written ones are of the best model.
    assert "best" in left["model"]
    assert len(left["model"]["columns"]) == left["features"].shape[1] == 13


def test_shares_of_a_vertical_model_are_read_and_add_up(folder: Path) -> None:
    for name in ("products", "users"):
        for table in (name, f"{name}_test"):
            Path(f"{table}.csv").write_text((ROOT / f"ops/data/sample/{table}.csv").read_text())
    Path("job.toml").write_text(pages.saved(HOWTO / "vertical-data.md", "job.toml"))
    for party, name in (("shop", "products"), ("bank", "users")):
        text = f'name = "{party}"\nstate = "state/{party}.db"\n'
        for table in (name, f"{name}_test"):
            text += f'[datasets.{table}]\nsource = "{table}.csv"\nid = "user_id"\n'
        Path(f"{party}.toml").write_text(text + '[outputs]\nfolder = "predictions"\n')
    job = simulated("job.toml", "shop", "bank")["job"]
    bank = snippet("state/bank.db")
    total: dict[str, float] = {}
    for own in (bank, bank.replace("bank.db", "shop.db").replace("users_test", "products_test")):
        left = run(own, job)
        for row, score in zip(left["rows"], left["scores"], strict=True):
            total[row["user_id"]] = total.get(row["user_id"], 0.0) + float(score)
    expected = predicted(folder / "predictions", job)
    assert {name: total[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert np.std([*expected.values()]) > 1
