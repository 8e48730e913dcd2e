"""Federated averaging at the coordinator."""

from coordinator.fedavg.lead import coordinate

__all__ = ["coordinate"]
