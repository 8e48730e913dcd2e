"""A folder that this user may not enter, also where the tests run as root, whom permissions do not bind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from places import ROOT

_NOBODY = 65534
# What makes root read everything; without them it is bound by permissions as any other user is.
_RIGHTS = "-dac_override,-dac_read_search"
_RUN = """
import contextlib, io, json, sys, traceback
from fedbus.cli import app
from fedbus.cli.app import invoke

done = []
for arguments in json.load(sys.stdin):
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = invoke(app, arguments)
        except BaseException:
            status = traceback.format_exc()
    done.append((status, told.getvalue()))
json.dump(done, sys.stdout)
"""


def lock(folder: Path, mode: int = 0o700) -> Path:
    """Make a folder another user's, with these rights of its owner's alone; as an ordinary user, without any."""
    folder.mkdir(exist_ok=True)
    if os.geteuid() == 0:
        os.chown(folder, _NOBODY, _NOBODY)
        folder.chmod(mode)
    else:
        folder.chmod(0)
    return folder


def unlock(folder: Path) -> None:
    """Let pytest remove it."""
    folder.chmod(0o700)


def bound(program: str, given: Any) -> Any:
    """What a Python program, which permissions bind, makes of what it is given: JSON on its standard streams."""
    command = [sys.executable, "-c", program]
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root is bound by no permissions, and there is no setpriv to change that")
        command = [setpriv, f"--inh-caps={_RIGHTS}", f"--bounding-set={_RIGHTS}", "--", *command]
    done = subprocess.run(
        command, cwd=ROOT, input=json.dumps(given),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def commands(lines: Sequence[Sequence[str]]) -> list[tuple[int | str, str]]:
    """The status of each of these command lines of `fedbus`, or a traceback, and its standard error."""
    return [(status, told) for status, told in bound(_RUN, [list(line) for line in lines])]
