"""Federated averaging of a network."""
