"""Imports point one way, and one third-party library has one home."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(file for package in ("fedbus", "parties", "coordinator") for file in (ROOT / package).rglob("*.py"))
COMPOSITION_ROOT = "fedbus/cli/"
HOMES = {
    "pika": "fedbus/broker/amqp",
    "msgpack": "fedbus/codec.py",
    "tenacity": "fedbus/retry.py",
    "prometheus_client": "fedbus/metrics.py",
    "sqlalchemy": "fedbus/",
    "phe": "fedbus/crypto/",
    "gmpy2": "fedbus/crypto/",
    "rbcl": "fedbus/crypto/curve.py",
    "cryptography": "fedbus/crypto/",
    "typer": "fedbus/cli/",
    "duckdb": "parties/",
    "safetensors": "fedbus/weights.py",
    "opacus": "fedbus/budget.py",
}
# It takes a second and 200 MB to import, which only a process that trains networks is to spend.
TORCH_HOMES = {"parties/network.py", "parties/training.py", "parties/steps.py", "parties/private_training.py"}


def imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_imports_what_it_may(file: Path) -> None:
    name = str(file.relative_to(ROOT))
    tops = {module.split(".")[0] for module in imports(file)}
    if name.startswith("fedbus/") and not name.startswith(COMPOSITION_ROOT):
        assert not tops & {"parties", "coordinator"}
    if name.startswith("parties/"):
        assert "coordinator" not in tops
    if name.startswith("coordinator/"):
        assert "parties" not in tops
    for library, home in HOMES.items():
        assert library not in tops or name.startswith(home), f"{library} belongs to {home}"
    assert "pickle" not in tops
    assert "torch" not in tops or name in TORCH_HOMES


def test_what_trains_no_network_starts_without_its_libraries() -> None:
    code = (
        "import sys, coordinator.robust, coordinator.service, coordinator.strategy, fedbus.budget, fedbus.cli, "
        "fedbus.cli.app, fedbus.metric_limbs, fedbus.weights, parties.worker; "
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'scipy', 'sklearn', 'opacus'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_only_settings_read_the_environment(file: Path) -> None:
    name = str(file.relative_to(ROOT))
    reads = "os.environ" in file.read_text() or "getenv" in file.read_text()
    # A child process is given the environment of its parent, and a node's own programs need their paths.
    allowed = ("fedbus/settings.py", "fedbus/simulate.py", "fedbus/broker/node")
    assert not reads or name.startswith(allowed)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_files_stay_readable(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 320
