"""Vertical algorithms share this: a guest holds the label, and hosts hold other columns of the same rows."""
