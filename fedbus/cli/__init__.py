"""The command line is the one place that puts all parts together: `fedbus`, `fedbus-party` and `fedbus-coordinator`."""

from __future__ import annotations

from fedbus.cli import approvals, audit, broker, ledger, local, members, models, plan, remote, tls, trial
from fedbus.cli.app import app, run
from fedbus.cli.daemons import coordinator, party
from fedbus.cli.doctor import command as doctor

__all__ = [
    "app",
    "approvals",
    "audit",
    "broker",
    "coordinator",
    "doctor",
    "ledger",
    "local",
    "main",
    "members",
    "models",
    "party",
    "plan",
    "remote",
    "tls",
    "trial",
]


def main() -> None:
    """The command `fedbus`."""
    run(app, log_level="warning")
