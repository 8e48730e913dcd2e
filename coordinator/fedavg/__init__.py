"""The coordinator's side of federated averaging."""
