"""What the parties say at a job's end, and what the report has of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from fedbus.algorithms import registry
from fedbus.job import JobSpec, JobState
from fedbus.messages.control import CELL_COUNTS, Finished
from fedbus.report import Report
from fedbus.session.session import Session

Figures = Mapping[str, Mapping[str, Any]]


class Draft:
    """The report of a job that goes on. Whatever is entered is held to the type of the algorithm's reports.

    Attributes:
        report: as far as it is known.
    """

    def __init__(self, spec: JobSpec, job: str) -> None:
        kind = registry.algorithm_of(spec).report
        self.report = kind(job=job, state=JobState.RUNNING.value, name=spec.name, algorithm=spec.algorithm)

    def enter(self, fields: Mapping[str, Any]) -> None:
        """Enter what became known; raises ProtocolError where it is nothing that a report can say."""
        self.report = self.report.joined(fields)

    def ended(self, state: JobState, reason: str, seconds: float) -> Report:
        """The report of the job's end."""
        ended = self.report.ended
        if state is not JobState.SUCCEEDED and ended:
            ended = f"{state.value}: {reason}; {ended}"
        return msgspec.structs.replace(self.report, state=state.value, reason=reason, seconds=seconds, ended=ended)


def told(spec: JobSpec, results: Figures) -> dict[str, Any]:
    """Parts of a report: how good the model is, what became of cells and of predictions, by party.

    Args:
        results: of each party that took part to the end, held to their types when they arrived.
    """
    return {**spec.reported(results), **_counted(results), **_predictions(results)}


def _counted(results: Figures) -> dict[str, dict[str, int]]:
    """Cells that parties filled or did not know, and rows that they left out for missing ones, where there are any."""
    found = {}
    for name in CELL_COUNTS:
        if counts := {party: figures[name] for party, figures in results.items() if figures.get(name)}:
            found[name] = counts
    return found


def _predictions(results: Figures) -> dict[str, dict[str, Any]]:
    """Whether the predictions of held-out rows are written, of the parties that were to write them."""
    found = {party: dict(figures["predictions"]) for party, figures in results.items() if figures.get("predictions")}
    return {"predictions": found} if found else {}


def finished(session: Session[JobSpec]) -> dict[str, dict[str, Any]]:
    """What parties add to the report: all of them, or of a job that can do without one those who are there in time."""
    spec, parties, attendance = session.spec, session.spec.parties, session.attendance
    if spec.finish_within is not None:

        def done() -> bool:
            failed = attendance.failures
            return all(party in failed or attendance.arrived(party, Finished) for party in spec.parties)

        def missing() -> list[str]:
            return [party for party in spec.parties if not attendance.arrived(party, Finished)]

        attendance.wait_until(done, spec.finish_within, missing)
        parties = tuple(party for party in parties if attendance.arrived(party, Finished))
    return {party: session.recv(party, Finished).figures for party in parties}
