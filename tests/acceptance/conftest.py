"""Child processes that all jobs of a file share: most jobs take less time than starting these."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fedbus.cli import simulation
from fedbus.crypto.engine import Engine


class KeptEngine(Engine):
    """An engine that outlives the job for which it was asked."""

    def close(self) -> None:
        """Other jobs follow."""


@pytest.fixture(scope="module", autouse=True)
def _shared_engine() -> Iterator[None]:
    engine = KeptEngine()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulation, "Engine", lambda _: engine)
        yield
    Engine.close(engine)
