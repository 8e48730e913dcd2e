"""This is a party's side of what vertical algorithms share: the alignment, and its share of a model."""
