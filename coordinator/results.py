"""What the parties say at a job's end, and what the report has of it."""

from __future__ import annotations

from typing import Any

from fedbus.jobs import AverageJob, JobSpec, LinearJob
from fedbus.messages import Finished
from fedbus.session import Session


def told(spec: JobSpec, results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What parties say of the outcome: of a vertical job the guest, who has the label."""
    if isinstance(spec, LinearJob):
        guest = results[spec.guest.party]
        dependent = {party: figures.get("dependent", 0) for party, figures in results.items()}
        return {
            **{key: guest[key] for key in ("train", "test") if key in guest},
            "dependent": {party: count for party, count in dependent.items() if isinstance(count, int) and count > 0},
        }
    return {"clipped": {party: figures.get("clipped", 0) for party, figures in results.items()}}


def counted(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Cells that parties filled and rows that they left out for missing ones, where there are any."""
    found = {}
    for name in ("missing_cells", "left_out_rows"):
        if counts := {party: figures[name] for party, figures in results.items() if figures.get(name)}:
            found[name] = counts
    return found


def finished(session: Session) -> dict[str, dict[str, Any]]:
    """What parties add to the report: all of them, or of a job that can do without one those who are there in time."""
    spec, parties, attendance = session.spec, session.spec.parties, session.attendance
    if isinstance(spec, AverageJob):

        def done() -> bool:
            failed = attendance.failures
            return all(party in failed or attendance.arrived(party, Finished) for party in spec.parties)

        def missing() -> list[str]:
            return [party for party in spec.parties if not attendance.arrived(party, Finished)]

        attendance.wait_until(done, spec.params.deadline, missing)
        parties = tuple(party for party in parties if attendance.arrived(party, Finished))
    return {party: session.recv(party, Finished).figures for party in parties}
