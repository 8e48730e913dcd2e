"""The coordinator's side of an algorithm, whatever it is."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol, cast

from fedbus.algorithms.registry import algorithm_of
from fedbus.crypto.engine import Engine
from fedbus.job import JobSpec
from fedbus.session.session import Session


class CoordinatorSide(Protocol):
    """What the module of a coordinator's side has."""

    def coordinate(self, session: Session[Any], engine: Engine, figures: dict[str, Any]) -> None:
        """The coordinator's part of a job.

        Args:
            figures: gets what the report says of training, however the job ends.
        """


def side_of(spec: JobSpec) -> CoordinatorSide:
    """The coordinator's side of a job's algorithm; loads it."""
    return cast(CoordinatorSide, import_module(algorithm_of(spec).coordinator))
