"""All algorithms, and which one a job is of. Nothing else outside an algorithm's own folders names it."""

from __future__ import annotations

from fedbus.algorithms.base import Algorithm
from fedbus.jobs import AverageJob, JobSpec, LinearJob

ALGORITHMS = (
    Algorithm(LinearJob, "parties.linear.side", "coordinator.linear.side"),
    Algorithm(AverageJob, "parties.fedavg.side", "coordinator.fedavg.side"),
)


def algorithm_of(spec: JobSpec) -> Algorithm:
    """The entry of a job's algorithm."""
    return next(algorithm for algorithm in ALGORITHMS if algorithm.job is type(spec))
