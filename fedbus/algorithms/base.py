"""What the program knows of an algorithm: one entry, from which all else follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol

from fedbus.algorithms.facts import Told
from fedbus.job import JobSpec
from fedbus.messages.envelope import Message
from fedbus.report import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """What the program knows of one algorithm.

    Modules are named and not imported: they are loaded when a job needs them, so that who trains no network does
    without torch.

    Attributes:
        job: the class of its jobs, which says of itself what services must know.
        kinds: the messages that its jobs send beside those of every job; see `kinds_of`.
        report: the class of its reports.
        party: the module of a party's side, a parties.side.PartySide; it also holds against each other what the
            parties of a job bring (`check_together`).
        coordinator: that of the coordinator's side, a coordinator.side.CoordinatorSide.
        plan: that which says what a job takes, a `Planning`.
        facts: that which says what is shown of a report and of a plan, a `Facts`.
        page: its page in the documentation, from the project's folder.
    """

    job: type[JobSpec]
    kinds: tuple[type[Message], ...]
    report: type[Report]
    party: str
    coordinator: str
    plan: str
    facts: str
    page: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What is known of a job's data before it runs, from tables that are here and from what somebody says.

    Attributes:
        columns: features of each party, as far as they are known.
        rows, test_rows: training rows and held-out rows of each party whose tables are here.
        rows_said, test_rows_said: that all parties are said to have.
        rounds: of training; None takes what is usual.
        parameters: of a network that a factory makes.
    """

    columns: Mapping[str, int] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    test_rows: Mapping[str, int] = field(default_factory=dict)
    rows_said: int | None = None
    test_rows_said: int = 0
    rounds: int | None = None
    parameters: int | None = None

    @property
    def common(self) -> int | None:
        """How many training rows all parties can have in common at most; None where nothing is known."""
        return min([*self.rows.values(), *([self.rows_said] if self.rows_said else [])], default=None)

    @property
    def common_test(self) -> int:
        """How many held-out rows all parties can have in common at most."""
        return min([*self.test_rows.values(), *([self.test_rows_said] if self.test_rows_said else [])], default=0)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a job takes and what each role learns, before it runs.

    Attributes:
        figures: a map, as `fedbus plan --json` writes it; `Facts.of_plan` says what is shown of it.
        notes: what whoever submits the job should know beside it.
    """

    figures: dict[str, Any]
    notes: list[str] = field(default_factory=list)


class Planning(Protocol):
    """What the module `Algorithm.plan` has. Jobs are of the algorithm's class."""

    def forecast(self, spec: Any, sizes: Sizes) -> Forecast:
        """Forecast what a job takes.

        Raises:
            ConfigError: sizes are missing or do not fit the job; it says which options give them.
            CryptoError, FixedPointOverflow: the job's numbers have no room.
            JobRefused: the job could not begin.
        """
        ...


class Facts(Protocol):
    """What the module `Algorithm.facts` has. Reports and plans are those of the algorithm."""

    def of_report(self, report: Any) -> Told:
        """What is shown of the report of a job that succeeded, beside what every report has."""
        ...

    def of_plan(self, plan: Mapping[str, Any]) -> Told:
        """What is shown of `Forecast.figures`."""
        ...


def kinds_of(*modules: ModuleType) -> tuple[type[Message], ...]:
    """The kinds of messages that modules define, in their order: whatever is a Message and has a kind of its own."""
    return tuple(
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Message) and "kind" in vars(value)
    )


def by_name(kinds: Iterable[type[Message]]) -> dict[str, type[Message]]:
    """Kinds by their names.

    Raises:
        TypeError: one does not say who may send it, or two have one name.
    """
    found: dict[str, type[Message]] = {}
    for kind in kinds:
        if not hasattr(kind, "senders"):
            raise TypeError(f"{kind.__module__}.{kind.__name__}: does not say who may send it; give it `senders`")
        if found.setdefault(kind.kind, kind) is not kind:
            raise TypeError(f"{kind.__module__}.{kind.__name__}: {kind.kind!r} is the name of another kind already")
    return found
