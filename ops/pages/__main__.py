"""Write the pages of docs/reference from the code.

    ops/reference            writes what has changed
    ops/reference --check    writes nothing; status 1 where a page differs from the code

What the pages say is in the code: types, bounds and defaults of the structures that files are read into, the
`Attributes:` of their docstrings, the help of the commands, the metrics, the exit statuses.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import commands
import job_file
import metrics_page
import settings_files
import statuses_page
from docstrings import Undocumented

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference"
PAGES: dict[str, Callable[[], str]] = {
    "job-file.md": job_file.render,
    "party-file.md": settings_files.render_party,
    "coordinator-file.md": settings_files.render_coordinator,
    "environment.md": settings_files.render_environment,
    "cli.md": commands.render,
    "metrics.md": metrics_page.render,
    "exit-statuses.md": statuses_page.render,
}


def main() -> int:
    """Do what the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="ops/reference", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="only say which pages differ from the code")
    check = parser.parse_args().check
    try:
        changed = {name: text for name, render in PAGES.items() if _stored(name) != (text := render())}
    except Undocumented as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, text in changed.items():
        if check:
            print(f"error: docs/reference/{name} differs from the code; `ops/reference` writes it", file=sys.stderr)
        else:
            FOLDER.mkdir(parents=True, exist_ok=True)
            (FOLDER / name).write_text(text, "utf-8")
            print(f"docs/reference/{name}")
    return 1 if check and changed else 0


def _stored(name: str) -> str | None:
    file = FOLDER / name
    return file.read_text("utf-8") if file.exists() else None


if __name__ == "__main__":
    sys.exit(main())
