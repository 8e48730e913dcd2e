"""This is the coordinator's side of federated averaging."""
