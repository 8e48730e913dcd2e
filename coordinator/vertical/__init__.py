"""The coordinator's side of what vertical algorithms share."""
