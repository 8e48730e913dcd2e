"""How a job's progress and report look on a terminal; where it is none, plain lines."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from fedbus.messages import Progress, StateChanged

_BARS = "▁▂▃▄▅▆▇█"
_CURVE_WIDTH = 60


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

    def show(self, event: StateChanged | Progress) -> None:
        """Show an event."""
        if isinstance(event, Progress):
            self._progress = event
            self._losses.append(event.loss)
        else:
            self._state = f"{event.state}{': ' + event.reason if event.reason else ''}"
        if self._console.is_terminal:
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
            parts += [Text("  " + self._round(self._progress)), Text("  " + _curve(self._losses), style="cyan")]
        return Group(*parts)

    @staticmethod
    def _round(event: Progress) -> str:
        return f"round {event.round}, epoch {event.epoch}, loss {event.loss:.6g}, {event.seconds:.2f} s"


def print_report(report: dict[str, Any]) -> None:
    """A job's report on standard output."""
    console = Console()
    _print_facts(console, _facts(report))
    if "coefficients" in report:
        console.print(_coefficients(report))


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
    _print_facts(console, facts)
    table = Table("role", "multiplications", "processor s", "messages", "bytes")
    for role, cost in plan["roles"].items():
        numbers = (f"{cost['multiplications']:,}", f"{cost['processor_seconds']:.1f}")
        table.add_row(role, *numbers, f"{cost['messages']:,}", f"{cost['bytes']:,}")
    console.print(table)
    for role, cost in plan["roles"].items():
        console.print(f"{role} learns {cost['learns']}.", markup=False, highlight=False, soft_wrap=True)


def _print_facts(console: Console, facts: list[tuple[str, str]]) -> None:
    # Lines, not a table: where output is no terminal, a table would break them at 80 columns.
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        line = Text.assemble((f"{name:{width}}", "bold"), f"  {value}")
        console.print(line, highlight=False, soft_wrap=True)


def _facts(report: dict[str, Any]) -> list[tuple[str, str]]:
    rows = ", ".join(f"{party} {count['train']:,}" for party, count in report["rows"].items())
    latency = report["round_latency_seconds"]
    facts = [
        ("job", f"{report['job']} {report['state']} after {report['seconds']:.1f} s"),
        ("rows", f"{rows}; in common {report['aligned_rows']:,}"),
        ("training", f"{report['rounds']} rounds, {report['epochs']} epochs, {_ending(report)}"),
        ("loss", f"{report['loss'][0]:.6g} at first, {report['final_loss']:.6g} at the end  {_curve(report['loss'])}"),
        ("train", _score(report["train"])),
    ]
    for key, name in (("test", "test"), ("pooled_train", "pooled, train"), ("pooled_test", "pooled, test")):
        if key in report:
            facts.append((name, _score(report[key])))
    if "max_coefficient_difference" in report:
        facts.append(("difference", f"{report['max_coefficient_difference']:.2e} at most between coefficients"))
    facts += [
        ("round latency", f"p50 {latency['p50']:.3f} s, p99 {latency['p99']:.3f} s"),
        ("bytes sent", ", ".join(f"{party} {count:,}" for party, count in report["bytes_sent"].items())),
        ("metrics", _pages(report["metrics"])),
    ]
    return facts


def _pages(urls: dict[str, str]) -> str:
    """The addresses of /metrics; in one process all roles share one."""
    if len(set(urls.values())) == 1:
        return f"{next(iter(urls.values()))} (all in one process)"
    return ", ".join(f"{party} {url}" for party, url in urls.items())


def _ending(report: dict[str, Any]) -> str:
    return "converged" if report["converged"] else "not converged: params.max_epochs reached"


def _score(metrics: dict[str, float]) -> str:
    return f"MSE {metrics['mse']:.5g}, RMSE {metrics['rmse']:.5g}, R2 {metrics['r2']:.5f}"


def _coefficients(report: dict[str, Any]) -> Table:
    table = Table("party", "column", "federated", "pooled", "difference", title="Coefficients of standardised columns")
    rows = [(party, column, pair) for party, pairs in report["coefficients"].items() for column, pair in pairs.items()]
    for party, column, pair in [*rows, ("", "intercept", report["intercept"])]:
        difference = abs(pair["federated"] - pair["pooled"])
        table.add_row(party, column, f"{pair['federated']:.6f}", f"{pair['pooled']:.6f}", f"{difference:.1e}")
    return table


def _curve(losses: list[float]) -> str:
    """The losses as a line of bars, on at most _CURVE_WIDTH columns."""
    step = max(1, -(-len(losses) // _CURVE_WIDTH))
    shown = losses[::step]
    low, high = min(shown), max(shown)
    span = high - low or 1.0
    return "".join(_BARS[int((loss - low) / span * (len(_BARS) - 1))] for loss in shown)
