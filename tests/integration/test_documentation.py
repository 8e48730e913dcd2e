"""The site of the documentation: it builds without a warning, and asks nothing of other hosts.

It is a test and not a step of `ops/test`, so that it runs beside the other tests, and looks at what was built.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from places import ROOT

# What a browser loads by itself, unlike the target of a link.
_LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(?:https?:)?//[^>]*>"""
    r"""|<link\b(?![^>]*rel=["']?canonical)[^>]*\bhref=["']?(?:https?:)?//[^>]*>"""
)


def build(project: Path, site: Path) -> subprocess.CompletedProcess[str]:
    # With --quiet it would not count its warnings, and --strict find none.
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", site],
        cwd=project,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=150,
    )


def test_it_builds_strictly_and_loads_nothing_from_other_hosts(tmp_path: Path) -> None:
    site = tmp_path / "site"
    done = build(ROOT, site)
    assert done.returncode == 0, done.stderr
    pages = sorted(site.rglob("*.html"))
    # Each page, and the one for those that are not found.
    assert len(pages) == len([*(ROOT / "docs").rglob("*.md")]) + 1
    for page in pages:
        text = page.read_text("utf-8")
        assert _LOADED.findall(text) == [], page
        # A list needs an empty line before it; without one it is a paragraph with hyphens.
        assert re.findall(r"<p>[^<]*\n- .*", text) == [], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", sheet.read_text("utf-8")), sheet


def test_a_link_that_leads_nowhere_and_a_page_that_nothing_leads_to_end_the_build(tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(ROOT / "docs", project / "docs")
    shutil.copy(ROOT / "mkdocs.yml", project)
    with (project / "docs/index.md").open("a") as file:
        file.write("\n[nowhere](glossary.md#nowhere)\n")
    (project / "docs" / "lonely.md").write_text("# Lonely\n")
    done = build(project, tmp_path / "site")
    assert done.returncode == 1
    assert "does not contain an anchor '#nowhere'" in done.stderr
    assert "lonely.md" in done.stderr
