"""This is a party's side of federated averaging."""
