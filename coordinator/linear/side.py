"""The coordinator's side of vertical linear regression, which is that of the job's solver."""

from __future__ import annotations

from typing import Any

from coordinator.linear import gram, sgd
from coordinator.vertical.training import begin
from fedbus.algorithms.linear.spec import LinearJob
from fedbus.crypto.engine import Engine
from fedbus.session.session import Session

_TRAIN = {"gram": gram.train, "sgd": sgd.train}


def coordinate(session: Session[LinearJob], engine: Engine, figures: dict[str, Any]) -> None:
    """See CoordinatorSide.

    Raises:
        JobRefused, ProtocolError, CryptoError: see `begin`, and the solver.
    """
    work, params = begin(session, engine), session.spec.params
    with work.reporting(figures):
        if params.l2:
            figures["l2"] = params.l2
        _TRAIN[params.solver](work, figures)
