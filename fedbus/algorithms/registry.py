"""All algorithms, which one a job is of, and how a job file is read.

An algorithm is one entry here; nothing else outside its own folders names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, time
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from fedbus import report
from fedbus.algorithms.base import Algorithm, Facts, Planning, by_name, kinds_of
from fedbus.errors import ConfigError, ProtocolError
from fedbus.job import JobSpec, check_known
from fedbus.messages import control, ledger
from fedbus.messages.envelope import Message
from fedbus.report import Report
from fedbus.schema import convert, read_toml

# A job as a program may have it: as a specification, as the path of its file, or as the map that the file would be.
JobSource = JobSpec | Mapping[str, Any] | Path | str

# The folder of each, whose module `algorithm` has the entry: a new algorithm is a new name in this line.
_FOLDERS = ("linear", "fedavg")
ALGORITHMS: tuple[Algorithm, ...] = tuple(
    import_module(f"fedbus.algorithms.{folder}.algorithm").ALGORITHM for folder in _FOLDERS
)

# What can be decoded, by its name. An algorithm may use kinds that others use too.
KINDS: dict[str, type[Message]] = by_name(
    (*kinds_of(control, ledger), *(kind for algorithm in ALGORITHMS for kind in algorithm.kinds))
)


def named() -> dict[str, Algorithm]:
    """Algorithms by the name that a job file has."""
    return {algorithm.job.ALGORITHM: algorithm for algorithm in ALGORITHMS}


def algorithm_of(spec: JobSpec) -> Algorithm:
    """The entry of a job's algorithm."""
    return named()[spec.ALGORITHM]


def planning_of(spec: JobSpec) -> Planning:
    """What says what a job of this algorithm takes; loads it."""
    return cast(Planning, import_module(algorithm_of(spec).plan))


def facts_of(algorithm: str) -> Facts:
    """What says what is shown of reports and plans of an algorithm, by the name that a job file has; loads it."""
    return cast(Facts, import_module(named()[algorithm].facts))


def read_report(fields: Mapping[str, Any]) -> Report:
    """A report as its algorithm has it, from a map that another process has sent.

    Raises:
        ProtocolError: it is none, or that of an algorithm that this program does not have.
    """
    algorithm = fields.get("algorithm")
    known = named()
    if isinstance(algorithm, str) and algorithm in known:
        return report.read(known[algorithm].report, fields)
    found = report.read(Report, fields)
    if found.succeeded:
        raise ProtocolError(
            f"the coordinator's report cannot be shown: its algorithm {found.algorithm[:80]!r} is none that this"
            f" program has ({', '.join(known)})"
        )
    return found


def parse(fields: Any, where: str = "job") -> JobSpec:
    """A job specification from a map.

    Raises:
        ConfigError: names the place, the key, and the nearest known name.
    """
    known = named()
    if not isinstance(fields, dict) or not isinstance(fields.get("algorithm"), str):
        raise ConfigError(f"{where}: missing key 'algorithm'; known: {', '.join(known)}")
    check_known("algorithm", fields["algorithm"], tuple(known), where)
    _check_values(fields, where)
    # A flag of the whole job reads well at its top too.
    if "insecure_for_tests" in fields and isinstance(fields.get("params", {}), dict):
        fields = {**fields, "params": {**fields.get("params", {})}}
        fields["params"]["insecure_for_tests"] = fields.pop("insecure_for_tests")
    spec = convert(fields, known[fields["algorithm"]].job, where)
    spec.check(fields, where)
    return spec


def load(path: Path) -> JobSpec:
    """The specification in a job file (TOML).

    Raises:
        ConfigError: see `parse`.
    """
    fields = read_toml(path)
    if "datasets" in fields:
        raise ConfigError(
            f"{path}: this is a party file; a job file has the keys name, algorithm, and its parties with their data"
        )
    return parse(fields, str(path))


def job_from(source: JobSource) -> JobSpec:
    """A job's specification, however somebody has it.

    Raises:
        ConfigError: see `parse`.
    """
    if isinstance(source, JobSpec):
        return source
    return parse(dict(source)) if isinstance(source, Mapping) else load(Path(source))


def _check_values(fields: dict[str, Any], where: str) -> None:
    """Refuse what a message has and a job file has not, as an array, and numbers that no message can carry."""
    waiting: list[tuple[str, Any]] = [("", fields)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{place}.{key}" if place else str(key), inner) for key, inner in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(f"{place}[{number}]", inner) for number, inner in enumerate(value)]
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ConfigError(f"{where}: {place}: a number of more than 64 bits")
        elif not isinstance(value, str | int | float | date | time | None):
            raise ConfigError(f"{where}: {place}: {type(value).__name__} is nothing that a job file can say")
