"""Markdown reads well as plain text, leads somewhere, and has a page for each algorithm."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fedbus.algorithms.base import Algorithm
from fedbus.algorithms.registry import ALGORITHMS
from places import ROOT

_MOST = 120
_README_LINES = 120
# A heading's anchor, as both the site and forges have it: small letters, digits, hyphens.
_NO_ANCHOR = re.compile(r"[^\w\- ]")
_LINK = re.compile(r"\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`]*`")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return _FENCE.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """What links to a page may name after `#`."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        anchor = _NO_ANCHOR.sub("", heading).strip().lower()
        anchor = re.sub(r"[\s-]+", "-", anchor)
        # The second of two equal headings gets a number, and with it no stable name.
        assert anchor not in found, f"{name(page)}: two headings {heading!r}"
        found.add(anchor)
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_lines_are_short(page: Path) -> None:
    lines = page.read_text("utf-8").splitlines()
    assert [f"{name(page)}:{number}" for number, line in enumerate(lines, 1) if len(line) > _MOST] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_what_is_there(page: Path) -> None:
    for link in _LINK.findall(_CODE.sub("", prose(page))):
        target, _, anchor = link.partition("#")
        if target.startswith(("http://", "https://")):
            continue
        there = (page.parent / target).resolve() if target else page
        assert there.is_file(), f"{name(page)}: {link}: no such file"
        assert not anchor or anchor in anchors(there), f"{name(page)}: {link}: no such heading"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= _README_LINES


@pytest.mark.parametrize("entry", ALGORITHMS, ids=lambda entry: entry.job.ALGORITHM)
def test_each_algorithm_is_explained(entry: Algorithm) -> None:
    assert (ROOT / entry.page).is_file()


def test_the_first_page_leads_to_each_explanation_and_to_each_algorithm() -> None:
    index = ROOT / "docs/index.md"
    led_to = {(index.parent / link.partition("#")[0]).resolve() for link in _LINK.findall(prose(index))}
    wanted = {*(ROOT / "docs/explanation").glob("*.md"), *(ROOT / entry.page for entry in ALGORITHMS)}
    assert sorted(wanted - led_to) == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent != ROOT], ids=name)
def test_a_page_begins_with_its_title(page: Path) -> None:
    first, *further = prose(page).splitlines()
    assert re.match(r"# \S", first)
    assert [line for line in further if re.match(r"# \S", line)] == []


def test_code_and_programs_name_pages_that_are_there() -> None:
    sources = [
        file
        for folder in ("fedbus", "parties", "coordinator", "ops", "tests")
        for file in (ROOT / folder).rglob("*.py")
    ]
    for file in sources:
        for page in re.findall(r"\bdocs/[\w/-]+\.md", file.read_text("utf-8")):
            assert (ROOT / page).is_file(), f"{name(file)}: {page}"


def test_pages_and_code_name_modules_that_are_there() -> None:
    code = [file for folder in ("fedbus", "parties", "coordinator", "ops") for file in (ROOT / folder).rglob("*.py")]
    for file in (*code, *PAGES):
        # What a version has changed was named as it was then.
        if file.name == "CHANGELOG.md":
            continue
        for module in re.findall(
            r"(?<![\w/])(?:fedbus|parties|coordinator|ops|tests)/[\w/]+\.py\b", file.read_text("utf-8")
        ):
            # A placeholder, and the algorithm that the tutorial adds.
            if not {"NAME", "total"} & set(module.split("/")):
                assert (ROOT / module).is_file(), f"{name(file)}: {module}"
