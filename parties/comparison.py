"""A simulation's comparison with the same model on the pooled data, whatever the algorithm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedbus.jobs import AverageJob, JobSpec, LinearJob
from fedbus.settings import PartySettings


def compare(spec: JobSpec, job: str, parties: Sequence[PartySettings]) -> dict[str, Any]:
    """Figures of the pooled model, and how far the federated one is from it."""
    if isinstance(spec, LinearJob):
        from parties.linear import pooled

        return pooled.compare(spec, job, parties)
    assert isinstance(spec, AverageJob)  # noqa: S101  # there are these two
    # torch is loaded for networks only.
    from parties.fedavg import pooled as network

    return network.compare(spec, job, parties)
