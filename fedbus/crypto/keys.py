"""Paillier keys are made here."""

from __future__ import annotations

import secrets

import gmpy2

from fedbus.crypto.modulus import MAX_BITS, MIN_BITS
from fedbus.crypto.paillier import PrivateKey, PublicKey
from fedbus.errors import CryptoError


def generate_keypair(bits: int = 2048, *, short_exponents: bool = True) -> PrivateKey:
    """Make a secret key; its public key is `.public`.

    Args:
        bits: exact length of the modulus, even.

    Raises:
        CryptoError: a length that is odd or out of range.

    Source: Damgard, Jurik, Nielsen 2010, section 4.2 (primes 3 mod 4, gcd(p - 1, q - 1) = 2).
    """
    if bits % 2 or not MIN_BITS <= bits <= MAX_BITS:
        raise CryptoError(f"a key has an even number of {MIN_BITS} to {MAX_BITS} bits, not {bits}")
    p = _prime(bits // 2)
    while True:
        q = _prime(bits // 2)
        # Fermat's factoring finds primes that are close to each other.
        if abs(p - q).bit_length() > bits // 2 - 100 and gmpy2.gcd(p - 1, q - 1) == 2:
            return PrivateKey(p, q, PublicKey(p * q, short_exponents))


def _prime(bits: int) -> int:
    # Both top bits set make the product of two primes exactly twice as long.
    fixed = 3 << (bits - 2) | 3
    while True:
        candidate = secrets.randbits(bits) | fixed
        if gmpy2.is_prime(candidate):
            return candidate
