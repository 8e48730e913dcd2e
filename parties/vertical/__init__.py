"""A party's side of what vertical algorithms share: alignment, and its share of a model."""
