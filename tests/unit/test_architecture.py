"""Imports point one way, and one third-party library has one home."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from coordinator.side import CoordinatorSide
from fedbus.algorithms import registry
from fedbus.algorithms.base import Algorithm, Facts, Planning, kinds_of
from fedbus.messages import control, ledger
from fedbus.report import Report
from parties.side import PartySide
from places import ROOT

PACKAGES = ("fedbus", "parties", "coordinator")
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
COMPOSITION_ROOT = "fedbus/cli/"
HOMES = {
    "pika": "fedbus/broker/rabbitmq/",
    "pandas": "fedbus/report.py",
    "msgpack": "fedbus/codec.py",
    "tenacity": "fedbus/retry.py",
    "prometheus_client": "fedbus/metrics.py",
    "sqlalchemy": "fedbus/",
    "phe": "fedbus/crypto/",
    "gmpy2": "fedbus/crypto/",
    "rbcl": "fedbus/crypto/curve.py",
    # Certificates of connections are no arithmetic of a protocol, and no protocol is to come to need them.
    "cryptography": ("fedbus/crypto/", "fedbus/certificates/"),
    "mnemonic": "fedbus/members/keys.py",
    "shamirs": "fedbus/crypto/shares.py",
    "typer": "fedbus/cli/",
    "duckdb": "parties/",
    "safetensors": "fedbus/weights.py",
    "opacus": "fedbus/algorithms/fedavg/budget.py",
}
# It takes a second and 200 MB to import, which only a process that trains networks is to spend.
TORCH_HOMES = {
    "parties/fedavg/network.py",
    "parties/fedavg/training.py",
    "parties/fedavg/steps.py",
    "parties/fedavg/private_training.py",
}


# Folders from the ground up; what lies beside them in `fedbus` belongs wherever no circle arises.
LAYERS = (
    *("fedbus.certificates", "fedbus.crypto", "fedbus.members", "fedbus.messages", "fedbus.job", "fedbus.algorithms"),
    *("fedbus.codec", "fedbus.broker", "fedbus.store", "fedbus.session", "fedbus.service", "parties"),
    *("fedbus.trial", "fedbus.cli"),
)
# The folders of algorithms; `vertical`, `sums` and `data` are for all.
ALGORITHMS = tuple(algorithm.party.split(".")[1] for algorithm in registry.ALGORITHMS)


def module(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(file): file for file in FILES}


def imports(file: Path) -> set[str]:
    """All that a file imports, wherever in it; what `from package import module` names is the module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return found


def folder(name: str) -> str:
    """Of a module: its package, or the module itself where it lies beside packages."""
    file = MODULES[name]
    beside = any((other / "__init__.py").exists() for other in file.parent.iterdir())
    return name if beside and file.stem != "__init__" else module(file.parent / "__init__.py")


def circles(graph: dict[str, set[str]]) -> list[str]:
    """What is left of a graph once all is taken away that leads nowhere but out."""
    left = {name: others - {name} for name, others in graph.items()}
    while done := {name for name, others in left.items() if not others & set(left)}:
        left = {name: others for name, others in left.items() if name not in done}
    return sorted(left)


def test_no_file_and_no_folder_imports_in_a_circle() -> None:
    graph = {name: imports(file) & set(MODULES) for name, file in MODULES.items()}
    # It imports the entries by the names of their folders.
    graph[registry.__name__] |= {f"fedbus.algorithms.{name}.algorithm" for name in ALGORITHMS}
    assert circles(graph) == []
    folders: dict[str, set[str]] = {}
    for name, others in graph.items():
        folders.setdefault(folder(name), set()).update(folder(other) for other in others)
    assert circles(folders) == []


def layer(name: str) -> int:
    """Of a module in LAYERS, the coordinator beside the parties; -1 for others."""
    beside = name.replace("coordinator", "parties", 1) if name.startswith("coordinator") else name
    return next((place for place, part in enumerate(LAYERS) if f"{beside}.".startswith(f"{part}.")), -1)


def test_the_page_on_architecture_lists_the_layers_in_their_order() -> None:
    page = (ROOT / "docs/explanation/architecture.md").read_text("utf-8")
    places = re.findall(r"^\d+\. \*\*`([\w/.]+)`", page, re.MULTILINE)
    named = [place.removesuffix(".py").strip("/").replace("/", ".") for place in places]
    assert tuple(name for name in named if name in LAYERS) == LAYERS
    # Whatever has a folder has its place in it.
    folders = {f"fedbus.{file.parent.name}" for file in (ROOT / "fedbus").glob("*/__init__.py")}
    assert folders <= {*LAYERS}


@pytest.mark.parametrize("name", [name for name in MODULES if layer(name) >= 0])
def test_imports_go_down(name: str) -> None:
    above = {other for other in imports(MODULES[name]) & set(MODULES) if layer(other) > layer(name)}
    # The composition root is started by its own name.
    assert above == set()


def algorithms_named_by(name: str) -> set[str]:
    """The algorithms that a module outside their folders imports anything of.

    The registry imports their entries by the names of the folders.
    """
    parts = {part for other in imports(MODULES[name]) if other.split(".")[0] in PACKAGES for part in other.split(".")}
    return parts & set(ALGORITHMS) - set(MODULES[name].parent.relative_to(ROOT).parts)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_no_algorithm_imports_another_and_nothing_else_imports_any(name: str) -> None:
    assert algorithms_named_by(name) == set()


def test_shared_folders_are_no_algorithms() -> None:
    found = {part for name in MODULES for part in name.split(".")[1:-1]}
    assert {"sums", "vertical", "data"} <= found - set(ALGORITHMS)


@pytest.mark.parametrize("name", [name for name in MODULES if ".vertical" in name or name.startswith("fedbus.session")])
def test_what_algorithms_share_imports_none_of_them(name: str) -> None:
    others = {part for other in imports(MODULES[name]) & set(MODULES) for part in other.split(".")[:-1]}
    assert not others & set(ALGORITHMS)


def test_only_who_opens_a_store_knows_which_one_it_is() -> None:
    users = {name for name, file in MODULES.items() if "fedbus.store.sqlite" in imports(file)}
    opens = {"fedbus.service.process", "fedbus.cli.simulation", "fedbus.cli.workplace"}
    assert opens <= users <= opens | {f"parties.{name}.pooled" for name in ALGORITHMS}


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
        "import sys, coordinator.service, coordinator.fedavg.robust, coordinator.fedavg.strategy, fedbus.cli.app, "
        "fedbus.algorithms.fedavg.budget, fedbus.algorithms.sums.limbs, fedbus.weights, "
        "parties.worker; "
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'scipy', 'sklearn', 'opacus'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_only_settings_read_the_environment(file: Path) -> None:
    name = str(file.relative_to(ROOT))
    reads = "os.environ" in file.read_text() or "getenv" in file.read_text()
    # A child process is given the environment of its parent, and a node's own programs need their paths.
    allowed = ("fedbus/environment.py", "fedbus/settings.py", "fedbus/cli/processes.py", "fedbus/broker/node")
    assert not reads or name.startswith(allowed)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_files_stay_readable(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 320


def test_no_two_classes_have_one_name() -> None:
    homes: dict[str, list[str]] = {}
    for name, file in MODULES.items():
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(name)
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


def methods(protocol: type) -> dict[str, list[str]]:
    """The parameters of each function that a Protocol asks of a module."""
    found = {name: value for name, value in vars(protocol).items() if inspect.isfunction(value) and name[0] != "_"}
    return {name: list(inspect.signature(value).parameters)[1:] for name, value in found.items()}


each_algorithm = pytest.mark.parametrize("algorithm", registry.ALGORITHMS, ids=lambda entry: entry.job.ALGORITHM)


@each_algorithm
def test_each_algorithm_has_what_it_is_asked_for(algorithm: Algorithm) -> None:
    asked: list[tuple[str, type]] = [
        (algorithm.party, PartySide),
        (algorithm.coordinator, CoordinatorSide),
        (algorithm.plan, Planning),
        (algorithm.facts, Facts),
    ]
    for module, protocol in asked:
        found = importlib.import_module(module)
        wanted = methods(protocol)
        assert wanted
        assert {name: list(inspect.signature(getattr(found, name)).parameters) for name in wanted} == wanted


@each_algorithm
def test_each_algorithm_has_a_report_of_its_own_and_a_page(algorithm: Algorithm) -> None:
    assert issubclass(algorithm.report, Report)
    assert algorithm.report is not Report
    assert (ROOT / algorithm.page).is_file()


def test_what_is_shown_of_a_report_needs_no_side_of_an_algorithm() -> None:
    code = (
        "import sys; from fedbus.algorithms import registry; "
        "[registry.facts_of(name) for name in registry.named()]; "
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'parties', 'coordinator', 'torch', 'opacus'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith(("fedbus.cli", "fedbus.report"))])
def test_what_shows_and_runs_jobs_names_no_algorithm(name: str) -> None:
    parts = {part for other in imports(MODULES[name]) & set(MODULES) for part in other.split(".")}
    assert not parts & set(ALGORITHMS)


@pytest.mark.parametrize("name", MODULES)
def test_only_an_algorithm_asks_whether_a_job_is_its_own(name: str) -> None:
    classes = {algorithm.job.__name__ for algorithm in registry.ALGORITHMS}
    asked = {
        word.id
        for node in ast.walk(ast.parse(MODULES[name].read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance"
        for word in ast.walk(node.args[1])
        if isinstance(word, ast.Name)
    }
    assert not asked & classes or set(ALGORITHMS) & set(name.split("."))


def test_algorithms_have_names_and_folders_of_their_own() -> None:
    names = [algorithm.job.ALGORITHM for algorithm in registry.ALGORITHMS]
    assert len(set(names)) == len(names) == len(set(ALGORITHMS))
    assert set(names) == set(registry.named())
    for folder, algorithm in zip(ALGORITHMS, registry.ALGORITHMS, strict=True):
        homes = [module.split(".")[:-1] for module in (algorithm.party, algorithm.coordinator, algorithm.plan)]
        assert homes == [["parties", folder], ["coordinator", folder], ["fedbus", "algorithms", folder]]


def test_no_two_kinds_of_messages_have_one_name() -> None:
    shared = kinds_of(control, ledger)
    kinds = {*shared, *(kind for algorithm in registry.ALGORITHMS for kind in algorithm.kinds)}
    assert len({kind.kind for kind in kinds}) == len(kinds)
    assert set(registry.KINDS.values()) == kinds


def test_each_folder_is_a_package() -> None:
    folders = {file.parent for file in FILES}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []
