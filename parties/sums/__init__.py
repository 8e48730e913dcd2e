"""This is a party's side of sums that show no summand."""
