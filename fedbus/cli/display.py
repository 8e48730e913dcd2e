"""A job's progress is shown live on a terminal, and elsewhere in plain lines."""

from __future__ import annotations

import contextlib
import math
import sys
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from fedbus import terminal
from fedbus.algorithms.facts import curve
from fedbus.messages.control import Event, Notice, Progress, StateChanged


class Display:
    """It shows a job's events on standard error: live on a terminal, otherwise a line each.

    Args:
        title: the job's name or id.
    """

    def __init__(self, title: str) -> None:
        self._console = Console(stderr=True)
        # Not the console's own word for it, which FORCE_COLOR decides.
        self._is_live = sys.stderr.isatty() and not self._console.is_dumb_terminal
        self._bars = terminal.bars(sys.stderr)
        self._spinner = "dots" if terminal.shows("⠋", sys.stderr) else "line"
        self._title = terminal.printable(title)
        self._state = "waiting for the coordinator"
        self._progress: Progress | None = None
        self._losses: list[float] = []
        self._live = Live(self._view(), console=self._console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Display:
        if self._is_live:
            # What cannot be shown, on a terminal that was closed, is no reason to end a job.
            with contextlib.suppress(OSError):
                self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_live:
            with contextlib.suppress(OSError):
                self._live.stop()

    def note(self, text: str) -> None:
        """Show what is under way before the first event."""
        self._state = terminal.printable(text)
        if not self._update():
            self._line(text)

    def show(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Progress):
            self._progress = event
            shown = event.loss if event.test_loss is None else event.test_loss
            if math.isfinite(shown):
                self._losses.append(shown)
        elif isinstance(event, StateChanged):
            self._state = terminal.printable(f"{event.state}{': ' + event.reason if event.reason else ''}")
        if isinstance(event, Notice):
            self._line(event.text)
        elif self._update():
            return
        elif isinstance(event, StateChanged):
            self._line(self._state)
        # A log wants the course of training, not each of hundreds of rounds.
        elif event.round <= 3 or event.round % 10 == 0:
            self._line(self._round(event))

    def _update(self) -> bool:
        """Bring the live display up to date. Return False where there is none."""
        if self._is_live:
            with contextlib.suppress(OSError):
                self._live.update(self._view())
        return self._is_live

    def _line(self, text: str) -> None:
        with contextlib.suppress(OSError):
            line = f"{self._title}: {terminal.printable(text)}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _view(self) -> Group:
        parts: list[Any] = [Spinner(self._spinner, Text(f"{self._title}: {self._state}"))]
        if self._progress is not None:
            parts.append(Text("  " + self._round(self._progress)))
        if self._losses:
            parts.append(Text("  " + curve(self._losses, self._bars), style="cyan"))
        return Group(*parts)

    @staticmethod
    def _round(event: Progress) -> str:
        test = "" if event.test_loss is None else f", on held-out rows {event.test_loss:.6g} before it"
        loss = "" if math.isnan(event.loss) else f", loss {event.loss:.6g}"
        return f"round {event.round}, epoch {event.epoch}{loss}{test}, {event.seconds:.3g} s"
