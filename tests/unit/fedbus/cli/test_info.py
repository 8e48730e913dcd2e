"""`fedbus info`."""

from __future__ import annotations

from typer.testing import CliRunner

from fedbus import __version__
from fedbus.cli import app
from fedbus.crypto import tier


def test_it_says_which_arithmetic_is_in_use_and_why() -> None:
    shown = CliRunner().invoke(app, ["info"])
    name, why = tier.current()
    assert shown.exit_code == 0
    lines = dict(line.split(maxsplit=1) for line in shown.output.splitlines())
    assert lines["arithmetic"] == f"{name}: {why}"
    assert lines["fedbus"] == __version__
    assert {"gmpy2", "opacus", "safetensors", "torch"} <= set(lines["libraries"].replace(", ", " ").split())
