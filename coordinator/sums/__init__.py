"""The coordinator's side of sums that show no summand."""
