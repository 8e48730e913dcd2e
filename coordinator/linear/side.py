"""Vertical linear regression at the coordinator, by the job's solver."""

from __future__ import annotations

from typing import Any

from coordinator.linear import gram, sgd
from fedbus.crypto.engine import Engine
from fedbus.session.session import Session

_SOLVERS = {"gram": gram.coordinate, "sgd": sgd.coordinate}


def coordinate(session: Session, engine: Engine, figures: dict[str, Any]) -> None:
    """See CoordinatorSide."""
    _SOLVERS[session.linear.params.solver](session, engine, figures)
