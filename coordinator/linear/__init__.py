"""This is the coordinator's side of vertical linear regression."""
