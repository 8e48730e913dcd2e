"""A private total: the coordinator's side. The protocol is in the parties' module."""

from __future__ import annotations

from typing import Any

from fedbus.algorithms.total.algorithm import MODULUS, SCALE, Announced, Hidden, TotalJob
from fedbus.crypto.engine import Engine
from fedbus.session.session import Session


def coordinate(session: Session[TotalJob], engine: Engine, figures: dict[str, Any]) -> None:
    """See CoordinatorSide."""
    session.at(1)
    number = sum(int.from_bytes(session.recv(party, Hidden).value) for party in session.spec.parties) % MODULUS
    signed = number - MODULUS if number >= MODULUS // 2 else number
    figures |= {"total": signed / SCALE, "rounds": 1}
    session.send(session.spec.parties, Announced(signed / SCALE))
