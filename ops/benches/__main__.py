"""Run one bench, print its figures, and write them with a description of the machine.

    ops/bench NAME [options] [--json FILE]
    ops/bench --list

A bench is a module of this folder with `add_arguments(parser)` and `run(arguments) -> figures`; its docstring is its
help.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from fedbus.crypto import tier
from fedbus.service import process

BENCHES = {
    "engine": "engine",
    "gradient": "gradient",
    "round": "round_trip",
    "seal": "seal",
    "align": "align",
    "linear": "linear",
    "fedavg": "fedavg",
}
FOLDER = Path(__file__).resolve().parent


def main() -> int:
    """Run the bench that the command line names; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="ops/bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", choices=BENCHES, help=", ".join(BENCHES))
    parser.add_argument("--list", action="store_true", help="say what there is and end")
    parser.add_argument("--help", "-h", action="store_true", help="with NAME: the bench's own options")
    chosen, rest = parser.parse_known_args()
    if chosen.list:
        for name in BENCHES:
            print(f"{name:10} {_summary(name)}")
        return 0
    if chosen.name is None:
        parser.print_help(sys.stdout if chosen.help else sys.stderr)
        return 0 if chosen.help else 2
    return _run(chosen.name, [*rest, *(["--help"] if chosen.help else [])])


def _run(name: str, words: list[str]) -> int:
    bench: Any = importlib.import_module(BENCHES[name])
    parser = argparse.ArgumentParser(
        prog=f"ops/bench {name}", description=bench.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures and machine to this file")
    bench.add_arguments(parser)
    arguments = parser.parse_args(words)
    process.configure_logging("warning")
    report = {"bench": name, "machine": machine(), "figures": bench.run(arguments)}
    for section in ("machine", "figures"):
        print(f"{section}:")
        _show(report[section], "  ")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return 0


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    import gmpy2

    return {
        "cpu": _field(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory": _field(Path("/proc/meminfo"), "MemTotal"),
        "python": platform.python_version(),
        "gmpy2": gmpy2.version(),
        "gmp": gmpy2.mp_version(),
        "kernel": platform.platform(),
        "tier": tier.current()[0],
    }


def _field(file: Path, name: str) -> str:
    try:
        lines = file.read_text("utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _show(value: object, indent: str) -> None:
    if not isinstance(value, dict):
        print(f"{indent}{value}")
        return
    width = max((len(str(key)) for key in value), default=0)
    for key, entry in value.items():
        if isinstance(entry, dict):
            print(f"{indent}{key}:")
            _show(entry, indent + "  ")
        else:
            print(f"{indent}{key:{width}}  {f'{entry:.6g}' if isinstance(entry, float) else entry}")


def _summary(name: str) -> str:
    file = FOLDER / f"{BENCHES[name]}.py"
    text = (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "") if file.exists() else "(not written yet)"
    return text.partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
