"""Federated averaging as an entry of the registry."""

from __future__ import annotations

from fedbus.algorithms.base import Algorithm, kinds_of
from fedbus.algorithms.fedavg import messages
from fedbus.algorithms.fedavg.report import AverageReport
from fedbus.algorithms.fedavg.spec import AverageJob
from fedbus.algorithms.sums import messages as sums_messages

ALGORITHM = Algorithm(
    job=AverageJob,
    kinds=kinds_of(sums_messages, messages),
    report=AverageReport,
    party="parties.fedavg.side",
    coordinator="coordinator.fedavg.side",
    plan="fedbus.algorithms.fedavg.plan",
    facts="fedbus.algorithms.fedavg.facts",
    page="docs/explanation/average.md",
)
