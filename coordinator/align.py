"""The coordinator's part of the alignment: it learns how many rows are common, and that all agree on it."""

from __future__ import annotations

from fedbus.errors import ProtocolError
from fedbus.messages import Aligned
from fedbus.session import Session


def coordinate(session: Session) -> Aligned:
    """The sizes that the guest reports.

    Raises:
        ProtocolError: a host counts other rows than the guest.
    """
    sizes = session.recv(session.guest, Aligned)
    for host in session.hosts:
        if session.recv(host, Aligned) != sizes:
            raise ProtocolError(f"{host} and {session.guest} differ in how many rows are common")
    if sizes.rows < 1 or sizes.test_rows < 0:
        raise ProtocolError(f"{session.guest} reports {sizes.rows} common rows")
    return sizes
