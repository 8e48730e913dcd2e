"""Paillier's additively homomorphic encryption is applied to whole vectors, with Damgard,
Jurik and Nielsen's fast obfuscation.

A ciphertext of m is (1 + n*m) * r mod n^2 with an n-th residue r, the obfuscator. r = h**a for a random a of half the
bits of n and h = (-y^2)**n; a table of powers of h makes it an eighth of the work of a random r**n. That a of half the
bits is enough rests on the assumption of the paper; `short_exponents=False` returns to r**n.

Ciphertexts that were added, multiplied or shifted carry what was done to them: obfuscate before they leave the process.

Sources: Paillier, "Public-key cryptosystems based on composite degree residuosity classes", EUROCRYPT 1999; Damgard,
Jurik, Nielsen, "A generalization of Paillier's public-key system with applications to electronic voting", Int. J. Inf.
Secur. 9 (2010), section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import index

import gmpy2
import numpy as np
from gmpy2 import mpz

from fedbus.crypto import lanes, portable, tier
from fedbus.crypto.integers import unpack
from fedbus.crypto.lanes import Lanes
from fedbus.crypto.modulus import Factors, Modulus
from fedbus.crypto.portable import Portable
from fedbus.crypto.tensor import CipherTensor
from fedbus.errors import CryptoError, FixedPointOverflow, InvalidCiphertext, WrongKey

Ints = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class PublicKey(Modulus):
    """A public key. Vectors that go in and come out are `CipherTensor`."""

    def to_bytes(self) -> bytes:
        """Write the key as bytes: one for the kind of obfuscators, then n, big-endian."""
        return bytes([self.short_exponents]) + self._modulus

    @classmethod
    def from_bytes(cls, data: bytes) -> PublicKey:
        """Read a key.

        Raises:
            CryptoError: the bytes are no key.
        """
        if len(data) < 2 or data[0] > 1 or data[1] == 0:
            raise CryptoError("the bytes are no public key")
        return cls(int.from_bytes(data[1:], "big"), bool(data[0]))

    def encrypt(self, values: Ints, scale: int, obfuscators: bytes = b"") -> CipherTensor:
        """Encrypt integers, and obfuscate each ciphertext.

        Args:
            values: (count,) signed in (-n/2, n/2), or residues in [0, n).
            scale: fraction bits of the values.
            obfuscators: from `obfuscators`, used first; give each to one call only.

        Raises:
            FixedPointOverflow: a value is outside both ranges.
        """
        return self._tensor(self._arithmetic.encrypt(self._ints(values), obfuscators), scale)

    def add(self, a: CipherTensor, b: CipherTensor) -> CipherTensor:
        """Add two vectors element by element. The result is obfuscated where one of the two is.

        Raises:
            WrongKey, InvalidCiphertext: a vector is not of this key.
            ValueError: lengths or scales differ.
        """
        if len(a) != len(b) or a.scale != b.scale:
            raise ValueError(f"{len(a)} values of scale {a.scale} cannot be added to {len(b)} of scale {b.scale}")
        return self._tensor(self._arithmetic.multiply(self._blob(a), self._blob(b)), a.scale)

    def add_plain(self, tensor: CipherTensor, ints: Ints) -> CipherTensor:
        """Add plain integers. The result is NOT obfuscated: obfuscate it before it leaves.

        Whoever knows the ciphertexts that went in reads the integers off those that come out: c'/c = 1 + n*m.

        Args:
            ints: (len(tensor),) of the tensor's scale, in the range of `encrypt`.

        Raises:
            WrongKey, InvalidCiphertext: the vector is not of this key.
            FixedPointOverflow: an integer is outside the range.
            ValueError: lengths differ.
        """
        if len(ints) != len(tensor):
            raise ValueError(f"{len(ints)} integers cannot be added to {len(tensor)} ciphertexts")
        return self._tensor(self._arithmetic.add_plain(self._blob(tensor), self._ints(ints)), tensor.scale)

    def total(self, tensor: CipherTensor) -> CipherTensor:
        """Add up all values to one ciphertext; without values it is an unobfuscated 0."""
        return self._tensor(self._arithmetic.product(self._blob(tensor)), tensor.scale)

    def load(self, tensor: CipherTensor) -> bytes:
        """Convert a vector as `matvec` needs it, so that several calls with the same vector share the work.

        Raises:
            WrongKey, InvalidCiphertext: the vector is not of this key.
        """
        return self._arithmetic.load(self._blob(tensor))

    def matvec(
        self, matrix: np.ndarray, tensor: CipherTensor, matrix_scale: int, loaded: bytes | None = None
    ) -> CipherTensor:
        """Multiply matrix^T by an encrypted vector.
        The result is NOT obfuscated: an all-zero column yields the ciphertext 1.

        Args:
            matrix: (len(tensor), columns) int64 with `matrix_scale` fraction bits.
            loaded: what `load` made of the vector.

        Returns:
            (columns,) of the sum of both scales.

        Raises:
            WrongKey, InvalidCiphertext: the vector is not of this key.
            ValueError: shapes do not fit.
        """
        blob = self._blob(tensor)
        return self._tensor(self._arithmetic.matvec(matrix, blob, loaded), tensor.scale + matrix_scale)

    def obfuscate(self, tensor: CipherTensor, obfuscators: bytes = b"") -> CipherTensor:
        """Return the same values in ciphertexts that cannot be linked to those given; `obfuscators` as in `encrypt`."""
        return self._tensor(self._arithmetic.obfuscate(self._blob(tensor), obfuscators), tensor.scale)

    def obfuscators(self, count: int) -> bytes:
        """Make obfuscators in advance: `count` random n-th residues of `width` bytes each.
        They are secret, and each may be used once.
        """
        return self._arithmetic.obfuscators(count)

    def check(self, tensor: CipherTensor, first: int = 0) -> None:
        """Check that a vector which arrived, and whose indices begin at `first`, consists of ciphertexts of this key.

        Raises:
            WrongKey: it is of another key.
            InvalidCiphertext: a number is not a unit modulo n^2; the message names the first.
        """
        blob, width, limit = self._blob(tensor), self.width, int(self.nsquare).to_bytes(self.width, "big")
        starts = range(0, len(blob), width)
        if all(blob[start : start + width] < limit for start in starts) and self._arithmetic.are_units(blob):
            return
        n, nsquare, numbers = mpz(self.n), self.nsquare, unpack(blob, width)
        for place, number in enumerate(numbers, first):
            if not 0 < number < nsquare or gmpy2.gcd(number, n) != 1:
                raise InvalidCiphertext(f"number {place} of the vector is no ciphertext of the key")

    @property
    def _arithmetic(self) -> Portable | Lanes:
        return self._lanes if tier.native() else self._portable

    @cached_property
    def _portable(self) -> Portable:
        return Portable(self)

    @cached_property
    def _lanes(self) -> Lanes:
        return Lanes(self)

    def _tensor(self, blob: bytes, scale: int) -> CipherTensor:
        return CipherTensor(self.fingerprint, scale, self.width, blob)

    def _blob(self, tensor: CipherTensor) -> bytes:
        if tensor.fingerprint != self.fingerprint:
            raise WrongKey(f"ciphertexts of key {tensor.fingerprint.hex()} instead of {self.fingerprint.hex()}")
        if tensor.width != self.width:
            raise InvalidCiphertext(f"ciphertexts of {tensor.width} bytes instead of {self.width}")
        return tensor.blob

    def _ints(self, values: Ints) -> list[int]:
        # index() refuses floats, which int() would cut off.
        ints = [index(value) for value in (values.tolist() if isinstance(values, np.ndarray) else values)]
        low, high = -(self.n // 2), self.n
        if not all(low <= value < high for value in ints):
            raise FixedPointOverflow(f"a plaintext is outside the range of a key of {self.bits} bits")
        return ints


@dataclass(frozen=True, repr=False)
class PrivateKey(Factors):
    """A secret key, that is, the primes p and q of a public key, which are never shown.

    Make it by `from_primes` or `keys.generate_keypair`, which check the primes.
    """

    public: PublicKey

    @classmethod
    def from_primes(cls, p: int, q: int, *, short_exponents: bool = True) -> PrivateKey:
        """Make the key of two primes.

        Raises:
            CryptoError: they are not two different primes of about equal size, or, for short exponents, not 3 mod 4
                with gcd(p - 1, q - 1) = 2.
        """
        if p == q or p.bit_length() != q.bit_length() or not (gmpy2.is_prime(p) and gmpy2.is_prime(q)):
            raise CryptoError("a secret key needs two different primes of one size")
        if short_exponents and not (p % 4 == q % 4 == 3 and gmpy2.gcd(p - 1, q - 1) == 2):
            raise CryptoError("short exponents need primes that are 3 mod 4 with gcd(p - 1, q - 1) = 2")
        return cls(p, q, PublicKey(p * q, short_exponents))

    def decrypt(self, tensor: CipherTensor) -> list[int]:
        """Decrypt to signed integers in (-n/2, n/2), in order.

        Raises:
            WrongKey, InvalidCiphertext: the vector is not of this key.
        """
        n, half = self.public.n, self.public.n // 2
        return [residue - n if residue > half else residue for residue in self.decrypt_residues(tensor)]

    def decrypt_residues(self, tensor: CipherTensor) -> list[int]:
        """Decrypt to residues in [0, n), in order.

        Raises:
            WrongKey, InvalidCiphertext: the vector is not of this key.
        """
        self.public.check(tensor)
        decrypt = lanes.decrypt if tier.native() else portable.decrypt
        return decrypt(self, self.public.width, tensor.blob)

    def __repr__(self) -> str:
        return f"PrivateKey(bits={self.public.bits}, fingerprint={self.public.fingerprint.hex()})"
