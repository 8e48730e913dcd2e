"""Arithmetic on encrypted vectors: fixed point, Paillier, multi-exponentiation, masks and the alignment group."""
