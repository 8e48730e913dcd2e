"""Exit statuses: every error comes to one of them, and each is somebody's."""

from __future__ import annotations

import pytest

from fedbus import errors
from fedbus.errors import FedbusError
from fedbus.statuses import Status

ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FedbusError)]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_of_the_table(kind: type[FedbusError]) -> None:
    assert isinstance(kind.exit_status, Status)
    assert kind.exit_status not in (Status.DONE, Status.INTERRUPTED)


def test_every_status_of_the_table_is_somebodys() -> None:
    of_errors = {kind.exit_status for kind in ALL}
    assert of_errors == set(Status) - {Status.DONE, Status.INTERRUPTED}
