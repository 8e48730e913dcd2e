"""A party's side of sums that show no summand."""
