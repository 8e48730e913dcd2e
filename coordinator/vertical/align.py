"""The coordinator takes part in the alignment: it learns how many rows are common, and that all agree on it."""

from __future__ import annotations

from dataclasses import dataclass

from fedbus.algorithms.vertical.job import VerticalJob
from fedbus.algorithms.vertical.messages import Aligned
from fedbus.crypto import fixedpoint
from fedbus.errors import ProtocolError
from fedbus.session.session import Session


@dataclass(frozen=True, slots=True)
class CommonSizes:
    """How many rows the parties have in common, and how many columns each of them trains.

    Attributes:
        columns: of each party, the guest's with the intercept's.
        score_bits: fraction bits of scores, which the guest chooses by its label's unit.
    """

    rows: int
    test_rows: int
    columns: dict[str, int]
    score_bits: int


def coordinate(session: Session[VerticalJob]) -> CommonSizes:
    """Collect the sizes that the parties report, and check that they agree.

    Raises:
        ProtocolError: a host counts other rows than the guest, or a number cannot be.
    """
    reports: dict[str, Aligned] = {party: session.recv(party, Aligned) for party in session.spec.parties}
    guest = session.spec.guest_party
    own = reports[guest]
    for party, report in reports.items():
        if (report.rows, report.test_rows) != (own.rows, own.test_rows):
            raise ProtocolError(f"{party} and {guest} differ in how many rows are common")
        if report.columns < 1:
            raise ProtocolError(f"{party} reports {report.columns} columns")
    if own.rows < 1 or own.test_rows < 0:
        raise ProtocolError(f"{guest} reports {own.rows} common rows")
    if not 0 <= own.score_bits <= fixedpoint.MAX_BITS:
        raise ProtocolError(f"{guest} asks for {own.score_bits} fraction bits of scores")
    columns = {party: report.columns for party, report in reports.items()}
    return CommonSizes(own.rows, own.test_rows, columns, own.score_bits)
