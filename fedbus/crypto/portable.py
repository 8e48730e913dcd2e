"""gmpy2 computes with vectors of ciphertexts here. This is the arithmetic that runs on every machine.

A vector is a blob of big-endian numbers as in `CipherTensor`; whoever calls has checked key, width and ranges.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence

import gmpy2
import numpy as np
from gmpy2 import mpz

from fedbus.crypto import multiexp
from fedbus.crypto.integers import FixedBase, pack, product, shift, table, unpack
from fedbus.crypto.modulus import Factors, Modulus


class Portable:
    """It has the operations of one public key."""

    def __init__(self, key: Modulus) -> None:
        self._key = key

    def encrypt(self, ints: Sequence[int], obfuscators: bytes) -> bytes:
        """Compute (1 + n*m) * r mod n^2 for each m; those given as `obfuscators` are the first r."""
        return self._shifted(self._obfuscators(len(ints), obfuscators), ints)

    def add_plain(self, blob: bytes, ints: Sequence[int]) -> bytes:
        """Compute c * (1 + n*m) mod n^2, element by element."""
        return self._shifted(self._unpack(blob), ints)

    def multiply(self, left: bytes, right: bytes) -> bytes:
        """Compute products mod n^2, element by element."""
        nsquare = self._key.nsquare
        pairs = zip(self._unpack(left), self._unpack(right), strict=True)
        return self._pack(x * y % nsquare for x, y in pairs)

    def product(self, blob: bytes) -> bytes:
        """Compute the product of all numbers mod n^2, which is 1 where there are none."""
        return self._pack([product(self._unpack(blob), self._key.nsquare)])

    def load(self, _: bytes) -> bytes:
        """Return nothing: `matvec` has no first part that several calls could share."""
        return b""

    def matvec(self, matrix: np.ndarray, blob: bytes, _: bytes | None = None) -> bytes:
        """Multiply as `multiexp.matvec` does."""
        return self._pack(multiexp.matvec(matrix, self._unpack(blob), self._key.nsquare))

    def obfuscate(self, blob: bytes, obfuscators: bytes) -> bytes:
        """Compute c * r mod n^2, element by element, with r as in `encrypt`."""
        nsquare, numbers = self._key.nsquare, self._unpack(blob)
        pairs = zip(numbers, self._obfuscators(len(numbers), obfuscators), strict=True)
        return self._pack(number * mask % nsquare for number, mask in pairs)

    def obfuscators(self, count: int) -> bytes:
        """Make random n-th residues."""
        return self._pack(self._obfuscators(count))

    def are_units(self, blob: bytes) -> bool:
        """Return whether all numbers are units modulo n."""
        n = mpz(self._key.n)
        # One gcd for all: a product is a unit where all its factors are.
        return bool(gmpy2.gcd(product(self._unpack(blob), n), n) == 1)

    def _pack(self, numbers: Iterable[mpz]) -> bytes:
        return pack(numbers, self._key.width)

    def _unpack(self, blob: bytes) -> list[mpz]:
        return unpack(blob, self._key.width)

    def _shifted(self, numbers: Iterable[mpz], ints: Sequence[int]) -> bytes:
        n, nsquare = mpz(self._key.n), self._key.nsquare
        return self._pack(shift(number, m, n, nsquare) for number, m in zip(numbers, ints, strict=True))

    def _obfuscators(self, count: int, ready: bytes = b"") -> list[mpz]:
        key = self._key
        masks = self._unpack(ready[: count * key.width])
        missing = count - len(masks)
        if missing and key.short_exponents:
            length = key.exponent_bytes
            powers = table(key.fingerprint, lambda: FixedBase(mpz(key.h), key.nsquare, length))
            masks += [powers.power(secrets.token_bytes(length)) for _ in range(missing)]
        elif missing:
            roots = (1 + secrets.randbelow(key.n - 1) for _ in range(missing))
            masks += [gmpy2.powmod(root, key.n, key.nsquare) for root in roots]
        return masks


def decrypt(factors: Factors, width: int, blob: bytes) -> list[int]:
    """Decrypt units modulo n^2 to plaintexts in [0, n).

    Source: Paillier 1999, section 7 (decryption modulo p^2 and q^2, joined by the Chinese remainder theorem).
    """
    p, q = mpz(factors.p), mpz(factors.q)
    psquare, qsquare, p_scale, q_scale, q_inverse = factors.constants
    power = gmpy2.powmod_sec  # constant time: what is raised comes from others, and the exponent is the secret
    residues = []
    for number in unpack(blob, width):
        mod_p = (power(number % psquare, p - 1, psquare) - 1) // p * p_scale % p
        mod_q = (power(number % qsquare, q - 1, qsquare) - 1) // q * q_scale % q
        residues.append(int(mod_q + q * ((mod_p - mod_q) * q_inverse % p)))
    return residues
