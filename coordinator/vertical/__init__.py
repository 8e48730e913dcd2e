"""This is the coordinator's side of what vertical algorithms share."""
