"""A party's side of an algorithm, whatever it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from fedbus.algorithms.base import Sizes
from fedbus.algorithms.registry import algorithm_of
from fedbus.crypto.engine import Engine
from fedbus.job import JobSpec
from fedbus.report import Report
from fedbus.session.session import Session
from fedbus.settings import PartySettings
from parties.data.gaps import Gaps
from parties.data.tables import Tables
from parties.outputs import Predictions
from parties.policy import Policy


@dataclass(frozen=True, slots=True)
class Result:
    """What a party has at the end.

    Attributes:
        model: what the algorithm keeps of it in the party's store, beside what fedbus.models says of every model.
        figures: for the report.
        missing: cells that were filled, and levels that training rows lack.
        predictions: of held-out rows, where the party holds their label.
    """

    model: dict[str, Any]
    figures: dict[str, Any]
    missing: Gaps = field(default_factory=Gaps)
    predictions: Predictions | None = None


@dataclass(frozen=True, slots=True)
class Brought:
    """A party of the job, as its file has it, and its tables."""

    file: Path
    party: PartySettings
    tables: Tables

    @property
    def columns(self) -> int:
        """How many columns of this party a model trains, as far as all of its rows tell."""
        return len(self.tables.fit(self.tables.train).columns)


class PartySide(Protocol):
    """What the module of a party's side has. Jobs are of its algorithm's class.

    A side that has nothing to say before a job imports `check_sizes`, `check_together`, `in_common`, `notes` and
    `shortfalls` from this module, which say nothing.
    """

    def take_part(
        self, session: Session[Any], engine: Engine, tables: Tables, policy: Policy, settings: PartySettings
    ) -> Result:
        """This party's part of a job.

        Raises:
            FedbusError: it cannot go on; the reason is told as the error's class allows.
        """
        ...

    def compare(self, spec: Any, report: Any, parties: Sequence[PartySettings]) -> dict[str, Any]:
        """Fields of the report: the same model on the pooled rows, and how far the federated one is from it.

        Args:
            report: of the job, which succeeded.
        """
        ...

    def check(self, spec: Any, brought: Brought, rows: int) -> None:
        """Hold a party's policy and data against a job before it runs.

        Args:
            rows: no more of them can be trained on, as far as is known.

        Raises:
            JobRefused, DataError: it would not take part.
        """

    def check_sizes(self, spec: Any, sizes: Sizes) -> None:
        """Hold the sizes of a job's data against what no party consents to, whatever its policy; raises JobRefused."""

    def check_together(self, job_file: Path, spec: Any, brought: Sequence[Brought]) -> None:
        """Hold parties' data against each other, as far as they are here; raises as `check`, and ConfigError."""

    def in_common(self, spec: Any, brought: Sequence[Brought], *, held_out: bool = False) -> tuple[int, int] | None:
        """Rows in common as ids are, and if they were written alike; None where that means nothing or is not known."""
        ...

    def notes(self, spec: Any, brought: Sequence[Brought]) -> list[str]:
        """What an operator should know of a model of these tables, and what a simulation makes up for."""
        ...

    def shortfalls(self, spec: Any, brought: Sequence[Brought]) -> list[str]:
        """What of the job the parties' data do not allow although they take part in it."""
        ...


def check_sizes(spec: JobSpec, sizes: Sizes) -> None:
    """See PartySide: all sizes will do."""


def check_together(job_file: Path, spec: JobSpec, brought: Sequence[Brought]) -> None:
    """See PartySide: tables need not fit each other."""


def in_common(spec: JobSpec, brought: Sequence[Brought], *, held_out: bool = False) -> tuple[int, int] | None:
    """See PartySide: rows are each party's own."""
    return None


def notes(spec: JobSpec, brought: Sequence[Brought]) -> list[str]:
    """See PartySide: there is nothing to know."""
    return []


def shortfalls(spec: JobSpec, brought: Sequence[Brought]) -> list[str]:
    """See PartySide: nothing falls short."""
    return []


def side_of(spec: JobSpec) -> PartySide:
    """A party's side of a job's algorithm; loads it."""
    return cast(PartySide, import_module(algorithm_of(spec).party))


def compare(spec: JobSpec, report: Report, parties: Sequence[PartySettings]) -> dict[str, Any]:
    """What the algorithm's side compares."""
    return side_of(spec).compare(spec, report, parties)
