"""What a report or a plan says, as data: `fedbus/cli/` prints it, and whoever else shows it draws it in its own way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from fedbus.report import Report

_CURVE_WIDTH = 60


@dataclass(frozen=True, slots=True)
class Fact:
    """A name and what is said of it.

    Attributes:
        losses: a course of training, to be drawn after the text.
    """

    name: str
    text: str
    losses: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows of cells, the headings first.

    Attributes:
        title: a line above it, where there is one.
        numbers: how many columns at the end are numbers.
    """

    rows: Sequence[tuple[str, ...]]
    numbers: int
    title: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What is said, in the order in which it is shown.

    Attributes:
        sentences: that belong to it.
        notes: what who reads it should know beside it.
    """

    facts: list[Fact]
    grid: Grid | None = None
    sentences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def curve(losses: Sequence[float], bars: str) -> str:
    """The losses that are finite as a line of bars, on at most _CURVE_WIDTH columns; empty for none.

    Args:
        bars: of rising height.
    """
    finite = [loss for loss in losses if math.isfinite(loss)]
    if not finite:
        return ""
    step = max(1, -(-len(finite) // _CURVE_WIDTH))
    shown = finite[::step]
    low, high = min(shown), max(shown)
    # Halves, as the distance of two numbers may be more than any number.
    span = high / 2 - low / 2 or 1.0
    return "".join(bars[int((loss / 2 - low / 2) / span * (len(bars) - 1))] for loss in shown)


def known(losses: Sequence[float | None] | None) -> list[float]:
    """The losses that are numbers."""
    return [loss for loss in losses or () if loss is not None]


def of_job(report: Report) -> Fact:
    """Which job it is, how it ended and how long it took."""
    return Fact("job", f"{report.job} {report.state} after {report.seconds:.1f} s")


def of_rows(report: Report) -> str:
    """How many training rows each party has."""
    return ", ".join(f"{party} {count.train:,}" for party, count in report.rows.items())


def of_bytes(report: Report) -> Fact:
    """What each participant has sent."""
    return Fact("bytes sent", ", ".join(f"{party} {count:,}" for party, count in report.bytes_sent.items()))


def of_pages(report: Report) -> list[Fact]:
    """The addresses of /metrics; a simulation has none any more when it has ended."""
    if report.metrics is None:
        return []
    return [Fact("metrics", ", ".join(f"{name} {url}" for name, url in report.metrics.items()))]


def number(value: object, form: str = ".5g") -> str:
    """A measure, which may be undefined."""
    return f"{value:{form}}" if isinstance(value, int | float) else "undefined"
