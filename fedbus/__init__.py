"""Federated learning between organisations that may not pool their data, over a message queue."""

__version__ = "0.2.0"
