"""The coordinator's side of vertical linear regression."""
