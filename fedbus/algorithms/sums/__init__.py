"""Sums over parties' vectors that show no summand, for every algorithm that needs them."""
