"""The native extension computes with vectors of ciphertexts.
The operations are those of `portable`, with the same results.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import gmpy2
import numpy as np
from gmpy2 import mpz

from fedbus.crypto import lanes_multiexp
from fedbus.crypto.integers import WINDOW_BITS, pack, table, unpack
from fedbus.crypto.modulus import Factors, Modulus
from fedbus.crypto.ring import Ring

# A product is cut into pieces so that all lanes have work, each of this many factors at least.
_LEAST_FACTORS = 4
_PIECES = 64


class Lanes:
    """The operations of one public key; see `portable.Portable`."""

    def __init__(self, key: Modulus) -> None:
        self._key = key
        self._ring = Ring(key.n)

    def encrypt(self, ints: Sequence[int], obfuscators: bytes) -> bytes:
        """See `Portable.encrypt`."""
        ready = self.load(obfuscators[: len(ints) * self._key.width])
        fresh = self._fresh(len(ints) - len(ready) // self._ring.size)
        return self._dump(ready + fresh, ints)

    def add_plain(self, blob: bytes, ints: Sequence[int]) -> bytes:
        """See `Portable.add_plain`."""
        return self._dump(self.load(blob), ints)

    def multiply(self, left: bytes, right: bytes) -> bytes:
        """See `Portable.multiply`."""
        return self._ring.multiply(left, right, self._key.width)

    def product(self, blob: bytes) -> bytes:
        """See `Portable.product`."""
        numbers, ring = self.load(blob), self._ring
        count = len(numbers) // ring.size
        pieces = max(1, min(_PIECES, count // _LEAST_FACTORS))
        while pieces > 1:
            starts = np.arange(pieces + 1) * count // pieces
            numbers = ring.products(numbers, starts, np.arange(count))
            count, pieces = pieces, pieces // 8
        return self._dump(ring.products(numbers, np.array([0, count]), np.arange(count)))

    def load(self, blob: bytes) -> bytes:
        """Convert the ciphertexts as `matvec` needs them;
        several calls with the same ciphertexts can share the result.
        """
        return self._ring.load(blob, self._key.width)

    def matvec(self, matrix: np.ndarray, blob: bytes, loaded: bytes | None = None) -> bytes:
        """See `Portable.matvec`."""
        return lanes_multiexp.matvec(self._ring, matrix, blob, self._key.nsquare, self._key.width, loaded)

    def obfuscate(self, blob: bytes, obfuscators: bytes) -> bytes:
        """See `Portable.obfuscate`."""
        ready = obfuscators[: len(blob)]
        return self.multiply(blob, ready + self.obfuscators((len(blob) - len(ready)) // self._key.width))

    def obfuscators(self, count: int) -> bytes:
        """See `Portable.obfuscators`."""
        return self._dump(self._fresh(count))

    def are_units(self, blob: bytes) -> bool:
        """See `Portable.are_units`."""
        return bool(gmpy2.gcd(mpz.from_bytes(self.product(blob), "big"), self._key.n) == 1)

    def _dump(self, numbers: bytes, ints: Sequence[int] = ()) -> bytes:
        """The integers of numbers, each times 1 + n*m where `ints` are given."""
        n, width = self._key.n, self._key.width
        return self._ring.dump(numbers, width, b"".join([(-m % n).to_bytes(width // 2, "big") for m in ints]))

    def _fresh(self, count: int) -> bytes:
        """Numbers of random n-th residues."""
        key, ring = self._key, self._ring
        if not count:
            return b""
        if not key.short_exponents:
            roots = b"".join((1 + secrets.randbelow(key.n - 1)).to_bytes(key.width, "big") for _ in range(count))
            return ring.raise_(self.load(roots), key.n)
        length = key.exponent_bytes
        powers = table(b"lanes" + key.fingerprint, lambda: _powers(ring, key))
        exponents = np.frombuffer(secrets.token_bytes(count * length), np.uint8).reshape(count, length)
        indices = exponents + (np.arange(length, dtype=np.int32) << WINDOW_BITS)
        return ring.products(powers, np.arange(count + 1) * length, indices)


def _powers(ring: Ring, key: Modulus) -> bytes:
    """h**(d * 256**k) for every byte d at every place k of an exponent, place by place; `FixedBase` has the source."""
    base, bases = mpz(key.h), []
    for _ in range(key.exponent_bytes):
        bases.append(base)
        base = gmpy2.powmod(base, 1 << WINDOW_BITS, key.nsquare)
    return ring.powers(ring.load(pack(bases, key.width), key.width), 1 << WINDOW_BITS)


def decrypt(factors: Factors, width: int, blob: bytes) -> list[int]:
    """See `portable.decrypt`."""
    p, q = mpz(factors.p), mpz(factors.q)
    psquare, qsquare, p_scale, q_scale, q_inverse = factors.constants
    numbers = unpack(blob, width)
    p_powers = _raised(factors.rings[0], [number % psquare for number in numbers], p)
    q_powers = _raised(factors.rings[1], [number % qsquare for number in numbers], q)
    residues = []
    for p_power, q_power in zip(p_powers, q_powers, strict=True):
        mod_p = (p_power - 1) // p * p_scale % p
        mod_q = (q_power - 1) // q * q_scale % q
        residues.append(int(mod_q + q * ((mod_p - mod_q) * q_inverse % p)))
    return residues


def _raised(ring: Ring, numbers: Sequence[mpz], prime: mpz) -> list[mpz]:
    """number**(prime - 1) modulo prime**2."""
    width = 2 * ((prime.bit_length() + 7) // 8)
    powers = ring.raise_(ring.load(pack(numbers, width), width), int(prime) - 1)
    return unpack(ring.dump(powers, width), width)
