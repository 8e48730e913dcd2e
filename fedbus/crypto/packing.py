"""Several numbers are packed into one plaintext, in slots of equal width, side by side.

A packed plaintext is the sum of v_j * 2**(width * j). Sums of packed plaintexts, and products with one integer, are
those of every slot, as long as each slot's result stays within its width. Slots are signed: a negative one borrows
from its neighbour, and unpacking gives it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedbus.errors import CryptoError


@dataclass(frozen=True, slots=True)
class Slots:
    """It says how numbers lie in plaintexts.

    Attributes:
        width: bits of a slot; what it holds is of a magnitude below 2**(width - 1).
        count: slots of a plaintext.
    """

    width: int
    count: int

    @classmethod
    def fit(cls, width: int, key_bits: int) -> Slots:
        """Take as many slots of this width as fit the plaintexts of a key, with room for the sign.

        Raises:
            CryptoError: not one fits.
        """
        count = (key_bits - 2) // width
        if count < 1:
            raise CryptoError(f"a slot of {width} bits does not fit a key of {key_bits} bits: use a longer key")
        return cls(width, count)

    def packs(self, numbers: int) -> int:
        """Return how many plaintexts hold so many numbers."""
        return -(-numbers // self.count)

    def pack(self, matrix: Sequence[Sequence[int]] | np.ndarray) -> list[list[int]]:
        """Pack the rows of a matrix.

        Args:
            matrix: (rows, columns) signed integers that fit their slots.

        Returns:
            packs(columns) lists of `rows` plaintexts.
        """
        columns = list(matrix.T.tolist() if isinstance(matrix, np.ndarray) else zip(*matrix, strict=True))
        packed = []
        for start in range(0, len(columns), self.count):
            # From the last slot down, so that each row is shifted as a whole.
            *others, totals = columns[start : start + self.count]
            totals = list(totals)
            for column in reversed(others):
                totals = [(total << self.width) + value for total, value in zip(totals, column, strict=True)]
            packed.append(totals)
        return packed

    def unpack(self, packed: Sequence[int], numbers: int) -> list[int]:
        """Return the first `numbers` numbers that plaintexts hold, with their signs.

        Raises:
            CryptoError: a plaintext holds more than its slots: something overflowed.
        """
        half, mask = 1 << (self.width - 1), (1 << self.width) - 1
        found: list[int] = []
        for plaintext in packed:
            filled = min(self.count, numbers - len(found))
            offset = sum(half << (self.width * slot) for slot in range(filled))
            shifted = plaintext + offset
            if not 0 <= shifted < 1 << (self.width * filled):
                raise CryptoError("a packed plaintext holds more than its slots")
            found += [(shifted >> (self.width * slot) & mask) - half for slot in range(filled)]
        return found
