"""What was found out in each step: whether all is well there, in which words, and what to do where it is not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fedbus.errors import FedbusError
from fedbus.statuses import Status


class Level(StrEnum):
    """How a step ended. A failure keeps jobs from running; a warning does not, or not yet."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    UNCHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        step: what was looked at, in a word or two.
        text: a sentence without its full stop, with what to do where something is wrong.
        status: the exit status of a command that fails by it.
    """

    step: str
    level: Level
    text: str
    status: Status = Status.OTHER


class Findings:
    """All that was found, in the order of the steps."""

    def __init__(self) -> None:
        self.all: list[Finding] = []

    def ok(self, step: str, text: str) -> None:
        """Note that all is well."""
        self.all.append(Finding(step, Level.OK, text))

    def warn(self, step: str, text: str) -> None:
        """Note what should be mended."""
        self.all.append(Finding(step, Level.WARNING, text))

    def fail(self, step: str, text: str, status: Status = Status.CONFIGURATION) -> None:
        """Note what has to be mended."""
        self.all.append(Finding(step, Level.FAILURE, text, status))

    def leave(self, step: str, why: str) -> None:
        """Note that a step cannot be taken."""
        self.all.append(Finding(step, Level.UNCHECKED, why))

    @contextlib.contextmanager
    def step(self, step: str) -> Iterator[None]:
        """Note an error that is raised within as a failure of this step. The error's text says what to do."""
        try:
            yield
        except FedbusError as error:
            self.fail(step, str(error), error.exit_status)

    @property
    def failures(self) -> list[Finding]:
        """Return those that keep jobs from running."""
        return [finding for finding in self.all if finding.level is Level.FAILURE]

    def has_failed(self, *steps: str) -> bool:
        """Return whether one of these steps failed."""
        return any(finding.step in steps for finding in self.failures)

    def to_maps(self) -> list[dict[str, Any]]:
        """Return all that was found as maps, for programs."""
        return [{"step": each.step, "level": each.level.value, "text": each.text} for each in self.all]
