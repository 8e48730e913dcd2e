"""Pages of the documentation as programs: what a reader would type and save, in the order of the page.

A block of `toml` that begins with `# NAME.toml` is saved under that name, one that begins with `# NAME.toml, added` is
added to it. A block of `python` that begins with `# NAME.py` is saved too. A block of `sh` is run. A block of `text` is
what that printed. Blocks without a language are pictures.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from places import ROOT

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (?P<name>\S+\.(toml|py))(?P<added>, added)?(:.*)?\n")
_BEGIN = """
# The page's own commands follow; an administrator's are not for a test, and the processes that it starts end with it.
sudo() { cat > /dev/null; }
trap 'kill $(jobs -p) 2> /dev/null || true; wait || true' EXIT
"""
# Of a page with a dozen jobs, on a machine that has other work.
SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, "" where it has none, and its lines."""

    language: str
    text: str

    @property
    def file(self) -> tuple[str, bool] | None:
        """The file of settings or the script that it is, and whether it is added to it."""
        found = _FILE.match(self.text) if self.language in ("toml", "python") else None
        return (found["name"], found["added"] is not None) if found else None


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page."""
    return [Block(*found) for found in _FENCE.findall(page.read_text("utf-8"))]


def saved(page: Path, name: str) -> str:
    """The file that a page has its reader save under a name."""
    (found,) = [block.text for block in blocks(page) if block.file == (name, False)]
    return found


def script(page: Path) -> str:
    """A page's files and commands as one program for bash."""
    parts = [_BEGIN]
    for block in blocks(page):
        if block.file:
            name, added = block.file
            parts.append(f"cat {'>>' if added else '>'} {name} <<'END OF BLOCK'\n{block.text}END OF BLOCK\n")
        elif block.language == "sh":
            parts.append(block.text)
    return "".join(parts)


def prepare(folder: Path) -> None:
    """Make a folder look like that of an installed repository."""
    (folder / "ops").mkdir()
    (folder / "ops" / "data").symlink_to(ROOT / "ops" / "data")
    (folder / ".venv").symlink_to(sys.prefix)
    # What runs the tests is installed already; the programs themselves are the repository's.
    for name, body in (("install", "exit 0"), ("demo", f'exec "{sys.executable}" "{ROOT}/ops/demo.py" "$@"')):
        program = folder / "ops" / name
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)


def run(page: Path, folder: Path, port: int) -> str:
    """Do all that a page says in a prepared folder; returns what that printed.

    Args:
        port: of 127.0.0.1, free, in place of the broker's usual one.

    Raises:
        AssertionError: a command failed; has what was printed.
    """
    # Of the run's own settings only where RabbitMQ is: a reader has no others.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("FEDBUS_") or name in ("FEDBUS_RABBITMQ", "FEDBUS_CACHE")
    }
    environment["PATH"] = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{environment['PATH']}"
    environment["TMPDIR"] = str(folder)
    shell = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script(page).replace("5672", str(port))],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = shell.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(shell.pid, signal.SIGKILL)
        printed, _ = shell.communicate()
        raise AssertionError(f"{page} did not come to its end:\n{printed}") from None
    assert shell.returncode == 0, f"{page} ended with status {shell.returncode}:\n{printed}"
    return printed


def shown(page: Path) -> list[str]:
    """The lines that a page says are printed, as `comparable` has them."""
    return [comparable(line) for block in blocks(page) if block.language == "text" for line in block.text.splitlines()]


def comparable(line: str) -> str:
    """A line without what differs from run to run: numbers, ids of jobs, how wide columns are."""
    line = re.sub(r"-[0-9a-f]{16}\b", "-ID", line)
    return " ".join(re.sub(r"-?\d[\d,.]*(e[+-]?\d+)?", "N", line).split())
