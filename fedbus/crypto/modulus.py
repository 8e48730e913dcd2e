"""The arithmetic of Paillier works with these numbers of a key: the modulus and what follows from it, and the primes.

Source: Damgard, Jurik, Nielsen, "A generalization of Paillier's public-key system with applications to electronic
voting", Int. J. Inf. Secur. 9 (2010), section 4.2.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import gmpy2
from gmpy2 import mpz

from fedbus.crypto.ring import Ring
from fedbus.crypto.tensor import FINGERPRINT_BYTES
from fedbus.errors import CryptoError

# 512 bits are for tests; what a job may use is its parties' policy. The upper bound keeps a hostile key from
# occupying a process for hours.
MIN_BITS = 512
MAX_BITS = 8192
_BASE_DOMAIN = b"fedbus paillier base"


@dataclass(frozen=True)
class Modulus:
    """The modulus of a key, and what follows from it.

    Attributes:
        n: odd, MIN_BITS to MAX_BITS long.
        short_exponents: obfuscate by h**a; needs primes as `keys.generate_keypair` makes them.

    Raises:
        CryptoError: n cannot be the modulus of such a key.
    """

    n: int
    short_exponents: bool = True

    def __post_init__(self) -> None:
        if not MIN_BITS <= self.n.bit_length() <= MAX_BITS:
            raise CryptoError(f"a key has {MIN_BITS} to {MAX_BITS} bits, not {self.n.bit_length()}")
        # Two primes that are 3 mod 4 have a product that is 1.
        if self.n % 2 == 0 or (self.short_exponents and self.n % 4 != 1):
            raise CryptoError("the modulus is not a product of two primes as the scheme needs them")

    @property
    def bits(self) -> int:
        """The length of the modulus in bits."""
        return self.n.bit_length()

    @property
    def width(self) -> int:
        """The number of bytes of one ciphertext."""
        return 2 * len(self._modulus)

    @property
    def exponent_bytes(self) -> int:
        """The number of bytes of an obfuscator's random exponent, which has half as many as n."""
        return (self.bits + 15) // 16

    @cached_property
    def fingerprint(self) -> bytes:
        """The FINGERPRINT_BYTES that name the key. h follows from n, so n is all that has to be hashed."""
        return hashlib.blake2b(self._modulus, digest_size=FINGERPRINT_BYTES, person=b"fedbus paillier").digest()

    @cached_property
    def h(self) -> int:
        """The base of obfuscators, (-y^2)**n mod n^2, with y hashed from n.

        Nobody chooses y, so whoever made the key cannot plant a base of small order, and h needs not travel.

        Raises:
            CryptoError: y is not a unit, so n is not a product of two large primes.
        """
        digest = hashlib.shake_256(_BASE_DOMAIN + self._modulus).digest(len(self._modulus) + 16)
        y = int.from_bytes(digest, "big") % self.n
        if gmpy2.gcd(y, self.n) != 1:
            raise CryptoError("the modulus has a small factor")
        return int(gmpy2.powmod(-y * y, self.n, self.nsquare))

    @cached_property
    def nsquare(self) -> mpz:
        """The modulus of ciphertexts, n^2."""
        return mpz(self.n) ** 2

    @cached_property
    def _modulus(self) -> bytes:
        return self.n.to_bytes((self.bits + 7) // 8, "big")


@dataclass(frozen=True, repr=False)
class Factors:
    """The primes of a modulus, and what decryption makes of them. They are never shown."""

    p: int
    q: int

    @cached_property
    def constants(self) -> tuple[mpz, mpz, mpz, mpz, mpz]:
        """The numbers p^2 and q^2, those that undo the exponents modulo p and q, and the inverse of q modulo p."""
        p, q = mpz(self.p), mpz(self.q)
        # (1 + n)**(p - 1) = 1 + (p - 1)*n mod p^2, so what undoes the exponent is the inverse of -q modulo p.
        return p * p, q * q, gmpy2.invert(-q, p), gmpy2.invert(-p, q), gmpy2.invert(q, p)

    @cached_property
    def rings(self) -> tuple[Ring, Ring]:
        """The integers modulo p^2 and modulo q^2, for the native tier."""
        return Ring(self.p), Ring(self.q)
