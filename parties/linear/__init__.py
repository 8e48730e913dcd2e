"""A party's side of vertical linear regression."""
