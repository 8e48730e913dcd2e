"""The entry of vertical linear regression in the registry."""

from __future__ import annotations

from fedbus.algorithms.base import Algorithm, kinds_of
from fedbus.algorithms.linear import messages
from fedbus.algorithms.linear.report import LinearReport
from fedbus.algorithms.linear.spec import LinearJob
from fedbus.algorithms.vertical import messages as vertical

ALGORITHM = Algorithm(
    job=LinearJob,
    kinds=kinds_of(vertical, messages),
    report=LinearReport,
    party="parties.linear.side",
    coordinator="coordinator.linear.side",
    plan="fedbus.algorithms.linear.plan",
    facts="fedbus.algorithms.linear.facts",
    page="docs/explanation/gram.md",
)
