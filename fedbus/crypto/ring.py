"""The native tier computes with integers modulo the square of an odd number, eight at a time.

A vector of numbers is an opaque `bytes`: it may be cut at multiples of `Ring.size`, joined and kept, but means nothing
outside its ring. The operations hold no lock while they compute, so threads use all processors.

Source: fedbus/crypto/native/kernel.h, where the representation is explained.
"""

from __future__ import annotations

import gmpy2
import numpy as np
from gmpy2 import mpz

from fedbus.crypto import tier
from fedbus.errors import CryptoError

LIMB_BITS = 52
_LIMB_MASK = (1 << LIMB_BITS) - 1
_WORD_BYTES = 8
# The room above the modulus that the kernel needs; see lanes.h.
_SLACK_BITS = 16


class Ring:
    """The integers modulo m^2, and the operations with them.

    Args:
        modulus: m, odd, 128 to 8192 bits long.

    Attributes:
        size: bytes of one number.
        one: the number 1.
    """

    def __init__(self, modulus: int) -> None:
        limbs = -(-(modulus.bit_length() + _SLACK_BITS) // LIMB_BITS)
        self.limbs = limbs + limbs % 2
        self.size = 2 * self.limbs * _WORD_BYTES
        m = mpz(modulus)
        base = mpz(1) << (LIMB_BITS * self.limbs)
        inverse = -gmpy2.invert(m, mpz(1) << LIMB_BITS) & _LIMB_MASK
        pairs = [_pair(gmpy2.powmod(base, power, m * m), m, self.limbs) for power in (1, 3)]
        self.one = pairs[0]
        self._words = b"".join([_limbs(m, self.limbs), _limbs(inverse, 1), *pairs])
        self._modulus = _modulus(m * m)

    def load(self, integers: bytes, width: int) -> bytes:
        """Turn big-endian integers of `width` bytes, each at most as long as m^2 rounded up to 16 bits,
        into numbers of the ring.
        """
        return self._call("load", integers, width)

    def dump(self, numbers: bytes, width: int, shifts: bytes = b"") -> bytes:
        """Turn numbers into integers in [0, m^2), as `width` bytes each.

        Args:
            shifts: for each number s below m in width / 2 bytes; the number is multiplied by 1 - m * s.
        """
        return self._call("dump", numbers, width, shifts)

    def multiply(self, left: bytes, right: bytes, width: int) -> bytes:
        """Compute products in [0, m^2), element by element, of integers as `load` takes them."""
        if width * 8 <= LIMB_BITS * int.from_bytes(self._modulus[:_WORD_BYTES], "little"):
            return self._call("multiply", left, right, width, modulus=True)
        return self.dump(self.times(self.load(left, width), self.load(right, width)), width)

    def times(self, left: bytes, right: bytes) -> bytes:
        """Compute products of numbers, element by element."""
        count = len(left) // self.size
        return self.products(left + right, np.arange(count + 1) * 2, np.arange(2 * count).reshape(2, count).T)

    def products(self, table: bytes, starts: np.ndarray, indices: np.ndarray) -> bytes:
        """Compute products of a table's entries.

        Args:
            starts: (count + 1,) where each product's entries begin in `indices`, ascending.
            indices: entries of the table; -1 is the number 1.

        Returns:
            `count` numbers; of no entries, 1.
        """
        return self._call("products", table, _array(starts, np.int64), _array(indices, np.int32))

    def powers(self, bases: bytes, steps: int) -> bytes:
        """Compute base**0 to base**(steps - 1) of each base, base by base."""
        return self._call("powers", bases, steps)

    def weigh(self, table: bytes, indices: np.ndarray) -> bytes:
        """Compute, for each row of `indices`, the product of those entries of the table to the powers of columns,
        ..., 2, 1.

        An index of -1 is the number 1.
        """
        return self._call("weigh", table, _array(indices, np.int32), indices.shape[1])

    def raise_(self, numbers: bytes, exponent: int) -> bytes:
        """Raise all numbers to one exponent, in a time that depends on the number of the exponent's bytes only."""
        length = max(1, (exponent.bit_length() + 7) // 8)
        return self._call("raise_", numbers, exponent.to_bytes(length, "big"))

    def exercise(self, number: bytes, count: int) -> None:
        """Do eight times `count` multiplications, for measuring."""
        self._call("exercise", number, count)

    def _call(self, operation: str, *arguments: object, modulus: bool = False) -> bytes:
        # Rings travel between processes and extensions do not, so a ring does not hold it.
        if tier.extension is None:
            raise CryptoError("the native extension is not there")
        words = self._modulus if modulus else self._words
        result: bytes = getattr(tier.extension, operation)(words, *arguments)
        return result


def _modulus(modulus: mpz) -> bytes:
    """What Barrett's reduction needs; see plain.h."""
    limbs = -(-modulus.bit_length() // LIMB_BITS)
    length = (limbs + 2) // 2 * 2
    quotient = (mpz(1) << 2 * LIMB_BITS * limbs) // modulus
    return _limbs(mpz(limbs), 1) + _limbs(modulus, length) + _limbs(quotient, length)


def _limbs(value: mpz, count: int) -> bytes:
    return b"".join(
        int(value >> (LIMB_BITS * place) & _LIMB_MASK).to_bytes(_WORD_BYTES, "little") for place in range(count)
    )


def _pair(value: mpz, modulus: mpz, limbs: int) -> bytes:
    """The value as low - high * modulus."""
    quotient, low = gmpy2.f_divmod(value, modulus)
    return _limbs(low, limbs) + _limbs(-quotient % modulus, limbs)


def _array(values: np.ndarray, kind: type[np.generic]) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=kind)
