"""This is the coordinator's side of sums that show no summand."""
