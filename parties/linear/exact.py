"""Integer matrices are multiplied without any rounding here, by floating-point arithmetic on digits.

Where the columns of two parties nearly depend on each other, what tells them apart is a difference of sums that agree
to 15 digits and more: there the rounding of a float64 sum decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Digits are of -2**17 to 2**17: products of two, summed over 2**19 of them, are below 2**53 and exact in a float64.
_DIGIT_BITS = 18
_MOST_TERMS = 2**19
# So many at once: a digit of a matrix takes as much memory as the matrix.
_BATCH_ROWS = 2**14


@dataclass(frozen=True, slots=True, eq=False)
class Products:
    """The products of every two columns of an integer matrix, summed over its rows: X^T X.

    Attributes:
        digits: of the products, the lowest first, each (columns, columns).
    """

    digits: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, matrix: np.ndarray) -> Products:
        """Compute the products for a matrix (rows, columns) of int64 below 2**62 in magnitude,
        with fewer than 2**26 rows.
        """
        columns = matrix.shape[1]
        sums: list[np.ndarray] = []
        for start in range(0, len(matrix), _BATCH_ROWS):
            parts = _digits(matrix[start : start + _BATCH_ROWS])
            sums += [np.zeros((columns, columns), dtype=np.int64) for _ in range(2 * len(parts) - 1 - len(sums))]
            for low, one in enumerate(parts):
                sums[2 * low] += (one.T @ one).astype(np.int64)
                for high in range(low + 1, len(parts)):
                    product = (one.T @ parts[high]).astype(np.int64)
                    sums[low + high] += product + product.T
        return cls(tuple(_carried(sums)))

    def part(self, columns: int) -> Products:
        """Return the products of the first `columns` columns."""
        return Products(tuple(digit[:columns, :columns] for digit in self.digits))

    def row(self, number: int) -> list[int]:
        """Return the products of one column with each."""
        return _joined([digit[number] for digit in self.digits])

    def times(self, vector: np.ndarray) -> list[int]:
        """Compute X^T X v for v of (columns,) int64 below 2**62 in magnitude."""
        if len(vector) > _MOST_TERMS:
            raise ValueError(f"more than {_MOST_TERMS} columns")
        parts = _digits(vector)
        sums = [np.zeros(len(vector), dtype=np.int64) for _ in range(len(self.digits) + len(parts))]
        for low, digit in enumerate(self.digits):
            wide = digit.astype(np.float64)
            for high, part in enumerate(parts):
                sums[low + high] += (wide @ part).astype(np.int64)
        return _joined(sums)


def _digits(array: np.ndarray) -> list[np.ndarray]:
    """Signed digits of int64 as float64, the lowest first, at least one."""
    return [digit.astype(np.float64) for digit in _carried([array])]


def _carried(sums: list[np.ndarray]) -> list[np.ndarray]:
    """Numbers sum_k s_k 2**(18 k) with s_k of any int64 below 2**62, as digits, in int32."""
    half, found = 1 << (_DIGIT_BITS - 1), []
    waiting = list(sums)
    carry = np.zeros_like(waiting[0])
    while waiting or carry.any():
        total = carry + waiting.pop(0) if waiting else carry
        digit = ((total + half) & (2 * half - 1)) - half
        carry = (total - digit) >> _DIGIT_BITS
        found.append(digit.astype(np.int32))
    return found


def _joined(digits: list[np.ndarray]) -> list[int]:
    """The numbers that digits, or sums of them, stand for."""
    totals = [0] * len(digits[0])
    for digit in reversed(digits):
        totals = [(total << _DIGIT_BITS) + value for total, value in zip(totals, digit.tolist(), strict=True)]
    return totals
