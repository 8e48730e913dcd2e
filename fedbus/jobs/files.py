"""Job files and maps to specifications."""

from __future__ import annotations

import re
import secrets
from datetime import date, time
from pathlib import Path
from typing import Any

from fedbus.errors import ConfigError
from fedbus.jobs.average import AverageJob
from fedbus.jobs.linear import LinearJob
from fedbus.jobs.spec import JobSpec, check_known
from fedbus.schema import convert, read_toml

_JOBS: dict[str, type[JobSpec]] = {job.ALGORITHM: job for job in (LinearJob, AverageJob)}
ALGORITHMS = tuple(_JOBS)


def parse(fields: Any, where: str = "job") -> JobSpec:
    """A job specification from a map.

    Raises:
        ConfigError: names the place, the key, and the nearest known name.
    """
    if not isinstance(fields, dict) or not isinstance(fields.get("algorithm"), str):
        raise ConfigError(f"{where}: missing key 'algorithm'; known: {', '.join(ALGORITHMS)}")
    check_known("algorithm", fields["algorithm"], ALGORITHMS, where)
    _check_values(fields, where)
    # A flag of the whole job reads well at its top too.
    if "insecure_for_tests" in fields and isinstance(fields.get("params", {}), dict):
        fields = {**fields, "params": {**fields.get("params", {})}}
        fields["params"]["insecure_for_tests"] = fields.pop("insecure_for_tests")
    spec = convert(fields, _JOBS[fields["algorithm"]], where)
    spec.check(fields, where)
    return spec


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


def new_id(name: str) -> str:
    """A job id that nobody else makes: the name's letters and 64 random bits."""
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "job"
    return f"{stem}-{secrets.token_hex(8)}"
