"""Certificates of connections to the broker: a small authority makes and renews them, members check their own."""
