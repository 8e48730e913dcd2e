"""All sides of vertical linear regression agree on what is in this package."""
