"""What README and how-to pages show, done as a reader would do it: files saved, commands run, and what these print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import pages
from fedbus.broker.node.server import free_ports
from pages import comparable
from places import ROOT

SAMPLE = ROOT / "ops/data/sample"
HORIZONTAL = ROOT / "docs/howto/horizontal-data.md"


def nothing(folder: Path) -> None:
    """The page makes all it needs."""


def sample_tables(folder: Path) -> None:
    """Tables of a shop and a bank, as a reader's own."""
    for table in SAMPLE.glob("*.csv"):
        (folder / table.name).write_text(table.read_text())


def customers(folder: Path) -> None:
    """A table with all that the page speaks of: missing cells, text, dates."""
    cities = ("Bonn", "Trier", "Ulm", "")
    rows = [f"c{n},{'' if n % 7 == 0 else n},{cities[n % 4]},2024-02-{n % 28 + 1:02},text {n}" for n in range(40)]
    (folder / "customers.csv").write_text("\n".join(("customer,income,city,since,comment", *rows, "")))
    job = pages.saved(ROOT / "README.md", "job.toml")
    (folder / "job.toml").write_text(job.replace('"users"', '"customers"'))


def two_parties(folder: Path) -> None:
    """The files of the page on horizontal data."""
    for name in ("prices.toml", "bob.toml"):
        (folder / name).write_text(pages.saved(HORIZONTAL, name))
    (folder / "alice.toml").write_text(pages.saved(HORIZONTAL, "bob.toml").replace("bob", "alice"))


PAGES: dict[str, Callable[[Path], None]] = {
    "README.md": sample_tables,
    "docs/quickstart.md": nothing,
    "docs/howto/tables.md": customers,
    "docs/howto/vertical-data.md": sample_tables,
    "docs/howto/horizontal-data.md": nothing,
    "docs/howto/differential-privacy.md": two_parties,
    "docs/howto/between-organisations.md": nothing,
    "docs/howto/trial.md": nothing,
}
# Snippets of the first two are run by test_use_a_model.py and test_python.py. The others have commands for machines of
# their own: what they name is tested in tests/unit/fedbus/cli, and test_tls.py, test_doctor.py and test_approvals.py of
# tests/integration.
_OF_SEVERAL_MACHINES = ("operate", "identities", "tls", "doctor", "consent")
OTHERS = {f"docs/howto/{name}.md" for name in ("use-a-model", "python", *_OF_SEVERAL_MACHINES)}


@pytest.mark.timeout(pages.SECONDS + 30)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_does_what_it_says(page: str, tmp_path: Path) -> None:
    pages.prepare(tmp_path)
    PAGES[page](tmp_path)
    printed = pages.run(ROOT / page, tmp_path, free_ports()[0])
    lines = {comparable(line) for line in printed.splitlines()}
    assert [line for line in pages.shown(ROOT / page) if line not in lines] == [], printed


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_is_run_or_compared(page: str) -> None:
    for block in pages.blocks(ROOT / page):
        assert block.language in ("", "sh", "text") or block.file, block.text


def test_no_page_for_tasks_is_left_out() -> None:
    found = {file.relative_to(ROOT).as_posix() for file in (ROOT / "docs/howto").glob("*.md")}
    assert found - PAGES.keys() - OTHERS == set()
