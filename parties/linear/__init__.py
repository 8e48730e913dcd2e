"""This is a party's side of vertical linear regression."""
