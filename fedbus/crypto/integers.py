"""Big integers are turned into bytes of a fixed width here, and powers of a fixed base are computed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from gmpy2 import mpz

T = TypeVar("T")

WINDOW_BITS = 8
# A table of a 2048-bit key takes 17 MB; a process rarely works under more than one key at a time.
_TABLES = 4


def pack(numbers: Iterable[mpz], width: int) -> bytes:
    """Write non-negative integers as big-endian bytes, `width` each."""
    return b"".join([number.to_bytes(width, "big") for number in numbers])


def unpack(blob: bytes, width: int) -> list[mpz]:
    """Read the integers that `pack` wrote."""
    read = mpz.from_bytes
    return [read(blob[start : start + width], "big") for start in range(0, len(blob), width)]


def product(numbers: Iterable[mpz], modulus: mpz) -> mpz:
    """Return the product of all numbers modulo `modulus`; 1 where there are none."""
    result = mpz(1)
    for number in numbers:
        result = result * number % modulus
    return result


def shift(number: mpz, m: int, n: mpz, nsquare: mpz) -> mpz:
    """Compute number * (1 + n*m) mod n^2, by a product modulo n instead of one modulo n^2."""
    shifted = number + n * (m * number % n)
    return shifted if shifted < nsquare else shifted - nsquare


class FixedBase:
    """It computes powers of one base by table look-up, a window of 8 bits at a time:
    one multiplication for each byte of the exponent.

    Look-ups are not constant time: an attacker who shares the processor's cache may learn about exponents.

    Args:
        exponent_bytes: length of every exponent.

    Source: Brickell, Gordon, McCurley, Wilson, "Fast exponentiation with precomputation", EUROCRYPT 1992, section 2.
    """

    def __init__(self, base: mpz, modulus: mpz, exponent_bytes: int) -> None:
        self._modulus = modulus
        self._rows: list[list[mpz]] = []
        step = base
        for _ in range(exponent_bytes):
            row = [mpz(1)]
            for _ in range((1 << WINDOW_BITS) - 1):
                row.append(row[-1] * step % modulus)
            self._rows.append(row)
            step = row[-1] * step % modulus

    def power(self, exponent: bytes) -> mpz:
        """Raise the base to a little-endian exponent."""
        if len(exponent) != len(self._rows):
            raise ValueError(f"the table is for exponents of {len(self._rows)} bytes, not {len(exponent)}")
        modulus, result = self._modulus, mpz(1)
        for row, digit in zip(self._rows, exponent, strict=True):
            result = result * row[digit] % modulus
        return result


_tables: OrderedDict[bytes, Any] = OrderedDict()
_lock = threading.Lock()


def table(name: bytes, build: Callable[[], T]) -> T:
    """Return the table of that name, which is built where this process has none.
    Beyond a few, the least recently used one is dropped.
    """
    # Built under the lock: two threads that need the same table would otherwise both spend the time.
    with _lock:
        found: T = _tables.pop(name, None) or build()
        _tables[name] = found
        if len(_tables) > _TABLES:
            _tables.popitem(last=False)
        return found
