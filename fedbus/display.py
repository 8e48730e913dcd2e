"""How a job's progress and plan look on a terminal; where it is none, plain lines."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from fedbus.messages import Event, Notice, Progress, StateChanged
from fedbus.report import curve, print_facts


class Display:
    """A job's events, live on standard error.

    Args:
        title: the job's name or id.
    """

    def __init__(self, title: str) -> None:
        self._console = Console(stderr=True)
        self._title = title
        self._state = "waiting for the coordinator"
        self._progress: Progress | None = None
        self._losses: list[float] = []
        self._live = Live(self._view(), console=self._console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def note(self, text: str) -> None:
        """Show what is under way before the first event."""
        self._state = text
        if self._console.is_terminal:
            self._live.update(self._view())
        else:
            self._line(text)

    def show(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Progress):
            self._progress = event
            shown = event.loss if event.test_loss is None else event.test_loss
            if not math.isnan(shown):
                self._losses.append(shown)
        elif isinstance(event, StateChanged):
            self._state = f"{event.state}{': ' + event.reason if event.reason else ''}"
        if isinstance(event, Notice):
            self._line(event.text)
        elif self._console.is_terminal:
            self._live.update(self._view())
        elif isinstance(event, StateChanged):
            self._line(self._state)
        # A log wants the course of training, not each of hundreds of rounds.
        elif event.round <= 3 or event.round % 10 == 0:
            self._line(self._round(event))

    def _line(self, text: str) -> None:
        self._console.print(f"{self._title}: {text}", markup=False, highlight=False, soft_wrap=True)

    def _view(self) -> Group:
        parts: list[Any] = [Spinner("dots", Text(f"{self._title}: {self._state}"))]
        if self._progress is not None:
            parts += [Text("  " + self._round(self._progress)), Text("  " + curve(self._losses), style="cyan")]
        return Group(*parts)

    @staticmethod
    def _round(event: Progress) -> str:
        test = "" if event.test_loss is None else f", on held-out rows {event.test_loss:.6g} before it"
        loss = "" if math.isnan(event.loss) else f", loss {event.loss:.6g}"
        return f"round {event.round}, epoch {event.epoch}{loss}{test}, {event.seconds:.3g} s"


def print_plan(plan: dict[str, Any]) -> None:
    """A job's plan on standard output."""
    console = Console()
    slots = f", {plan['slots']} slots of {plan['slot_bits']} bits" if "slots" in plan else ""
    columns = ", ".join(f"{party} {count:,}" for party, count in plan["columns"].items())
    most = "at most " if plan.get("rows_at_most") else ""
    held_out = f", {most}{plan['test_rows']:,} held out" if plan["test_rows"] else ""
    assumed = " (assumed; --rounds says otherwise)" if plan.get("rounds_assumed") else ""
    facts = [
        ("job", f"{plan['name']}: {plan['algorithm']}, solver {plan['solver']}, {plan['rounds']} rounds{assumed}"),
        ("data", f"{most}{plan['rows']:,} common rows{held_out}; columns: {columns}"),
        ("numbers", f"{plan['fraction_bits']} fraction bits{slots}, {plan['headroom_bits']} bits of headroom"),
        ("in all", f"{plan['seconds_on_this_machine']:.1f} s with all roles on this machine"),
        ("messages", f"{plan['messages']:,}, {plan['bytes']:,} bytes"),
    ]
    print_facts(console, facts)
    table = Table("role", "multiplications", "processor s", "messages", "bytes")
    for role, cost in plan["roles"].items():
        numbers = (f"{cost['multiplications']:,}", f"{cost['processor_seconds']:.1f}")
        table.add_row(role, *numbers, f"{cost['messages']:,}", f"{cost['bytes']:,}")
    console.print(table)
    for role, cost in plan["roles"].items():
        console.print(f"{role} learns {cost['learns']}.", markup=False, highlight=False, soft_wrap=True)


def print_average_plan(plan: dict[str, Any]) -> None:
    """The plan of a job of federated averaging on standard output."""
    console = Console()
    least = f", {plan['threshold']} of them to unmask" if plan["threshold"] else ""
    facts = [
        ("job", f"{plan['name']}: {plan['algorithm']}, {plan['strategy']}, {plan['rounds']} rounds at most"),
        ("parties", f"{plan['parties']}; {plan['min_clients']} have to answer in a round{least}"),
        ("network", f"{plan['parameters']:,} parameters on {plan['columns']} columns"),
        (
            "numbers",
            f"{plan['entry_bits']} bits an entry, {plan['fraction_bits']} of them fraction bits; "
            f"updates within {plan['clip_range']:g} on either side",
        ),
        ("a round", f"{plan['bytes_to_party']:,} bytes to each party, {plan['bytes_from_party']:,} bytes back"),
        ("in all", f"{plan['bytes']:,} bytes of models and updates, at most"),
    ]
    print_facts(console, facts)
    for role, learns in plan["learns"].items():
        console.print(f"{role} learns {learns}.", markup=False, highlight=False, soft_wrap=True)
    for line in plan["advice"]:
        console.print(f"note: {line}.", style="yellow", markup=False, highlight=False, soft_wrap=True)
