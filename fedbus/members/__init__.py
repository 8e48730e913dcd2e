"""Who is in a federation: the keys of its members, the roster of them, and how an operator learns a new one's key."""
