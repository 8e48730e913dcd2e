"""All sides of federated averaging agree on what is in this package."""
