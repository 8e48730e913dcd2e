"""A private total as an entry of the registry: two parties learn what a column adds up to over the rows of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from fedbus.algorithms.base import Algorithm, Forecast, Sizes
from fedbus.algorithms.facts import Fact, Told, of_bytes, of_job, of_rows
from fedbus.job import JobSpec, NonEmpty, Part
from fedbus.messages.envelope import COORDINATOR, PARTIES, Message
from fedbus.messages.fields import Finite
from fedbus.report import Report

# Numbers are whole multiples of 2^-40, modulo 2^128: a uniform mask hides each of them completely.
SCALE, MODULUS, BYTES = 2**40, 2**128, 16
Residue = Annotated[bytes, Meta(min_length=BYTES, max_length=BYTES)]


class TotalJob(JobSpec, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A job that adds up a column.

    Attributes:
        column: The column, at both parties.
        members: The two parties, in the file `[[parties]]`.
    """

    ALGORITHM: ClassVar[str] = "total"

    column: NonEmpty
    members: Annotated[tuple[Part, ...], Meta(min_length=2, max_length=2)] = msgspec.field(name="parties")

    @property
    def parts(self) -> tuple[Part, ...]:
        return self.members

    @property
    def places(self) -> tuple[str, ...]:
        return "parties[0]", "parties[1]"

    @property
    def length(self) -> tuple[int, str]:
        return 1, "round"

    @property
    def model_facts(self) -> dict[str, Any]:
        return {"loss": "none", "label": self.column}


@dataclass(frozen=True, slots=True)
class Mask(Message):
    """First party to second: a uniformly random number."""

    kind: ClassVar[str] = "total_mask"
    senders: ClassVar[tuple[str, ...]] = PARTIES
    value: Residue


@dataclass(frozen=True, slots=True)
class Hidden(Message):
    """Party to coordinator: its sum, plus the mask or less the mask."""

    kind: ClassVar[str] = "total_hidden"
    senders: ClassVar[tuple[str, ...]] = PARTIES
    value: Residue


@dataclass(frozen=True, slots=True)
class Announced(Message):
    """Coordinator to parties: the total."""

    kind: ClassVar[str] = "total_announced"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR,)
    value: Finite


class TotalReport(Report, frozen=True, kw_only=True):
    """A report of a private total.

    Attributes:
        total: over the rows of both parties.
        pooled_total: the same of the pooled rows; only a simulation can say it.
    """

    NEEDED: ClassVar[tuple[str, ...]] = ("job", "rows", "total")

    total: float = 0.0
    pooled_total: float | None = None


def forecast(spec: TotalJob, sizes: Sizes) -> Forecast:
    """See base.Planning: the same messages whatever the sizes."""
    rows = sum(sizes.rows.values())
    return Forecast({"name": spec.name, "messages": 5, "bytes": 4 * BYTES + 8, "rows": rows})


def of_plan(plan: Mapping[str, Any]) -> Told:
    """See base.Facts."""
    return Told(
        [
            Fact("job", f"{plan['name']}: total"),
            Fact("messages", f"{plan['messages']}, of {plan['bytes']} bytes without their envelopes"),
            Fact("learns", "everybody the total, and nobody more"),
        ]
    )


def of_report(report: TotalReport) -> Told:
    """See base.Facts."""
    pooled = [] if report.pooled_total is None else [Fact("pooled", f"{report.pooled_total:.6f}")]
    facts = [of_job(report), Fact("rows", of_rows(report)), Fact("total", f"{report.total:.6f}"), *pooled]
    return Told([*facts, of_bytes(report)])


ALGORITHM = Algorithm(
    job=TotalJob,
    kinds=(Mask, Hidden, Announced),
    report=TotalReport,
    party="parties.total.side",
    coordinator="coordinator.total.side",
    plan="fedbus.algorithms.total.algorithm",
    facts="fedbus.algorithms.total.algorithm",
    page="docs/extending.md",
)
