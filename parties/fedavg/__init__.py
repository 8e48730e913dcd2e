"""A party's side of federated averaging."""
