"""This is federated averaging at the coordinator, as the registry finds it."""

from coordinator.fedavg.lead import coordinate

__all__ = ["coordinate"]
