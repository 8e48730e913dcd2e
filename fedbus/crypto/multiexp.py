"""Many products of powers of the same ciphertexts are computed here by buckets.

Wanted is, for every column j of an integer matrix, prod_i c_i**matrix[i, j]. Every cell is written in balanced digits
-h..h of an odd radix r = 2h + 1. The digits at one place of one column are a plane. A pass takes `axes` planes
together: every row has a tuple of digits, there is a bucket for each of the r**axes tuples, and c_i is multiplied into
the bucket of its tuple, which serves all planes of the pass with one multiplication. The buckets are then multiplied
together along each axis, and prod_d bucket_d**d of the resulting r values is a suffix product. Negative digits are
gathered in a divisor, so that a column needs a single inversion.

Source: Pippenger, "On the evaluation of powers and monomials", SIAM J. Comput. 9 (1980); Bernstein, Doumen, Lange,
Oosterwijk, "Faster batch forgery identification", INDOCRYPT 2012, section 4 (buckets, signed digits).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import gmpy2
import numpy as np
from gmpy2 import mpz

from fedbus.crypto.integers import product
from fedbus.errors import InvalidCiphertext

_MAX_BUCKETS = 1 << 16


@dataclass(frozen=True, slots=True)
class Plan:
    """It says how cells are cut into digits: balanced digits of an odd radix, `axes` planes a pass."""

    radix: int
    axes: int


def matvec(matrix: np.ndarray, ciphertexts: Sequence[mpz], nsquare: mpz) -> list[mpz]:
    """Multiply each column of a plain matrix by an encrypted vector.

    Args:
        matrix: (rows, columns) int64, its whole range.
        ciphertexts: (rows,) units modulo nsquare.

    Returns:
        (columns,) prod_i c_i**matrix[i, j] mod nsquare. They are not obfuscated: an all-zero column yields 1.

    Raises:
        ValueError: shapes do not fit.
        InvalidCiphertext: a ciphertext is not a unit.
    """
    if matrix.ndim != 2 or matrix.dtype != np.int64 or len(matrix) != len(ciphertexts):
        raise ValueError(f"a matrix {matrix.shape} of {matrix.dtype} does not fit {len(ciphertexts)} ciphertexts")
    magnitudes = bounds(matrix)
    plan = plan_for(len(matrix), magnitudes)
    places = [digits_needed(bound, plan.radix) for bound in magnitudes]
    upper = [[mpz(1)] * number for number in places]
    lower = [[mpz(1)] * number for number in places]

    group: list[tuple[int, int, np.ndarray]] = []
    remaining = sum(places)
    for plane in planes(matrix, places, plan.radix):
        group.append(plane)
        remaining -= 1
        if len(group) == plan.axes or not remaining:
            buckets = _fill([digits for _, _, digits in group], ciphertexts, nsquare, plan.radix)
            for (column, place, _), line in zip(group, _lines(buckets, len(group), plan.radix, nsquare), strict=True):
                upper[column][place], lower[column][place] = _weigh(line, nsquare)
            group = []
    return [_compose(*pair, plan.radix, nsquare) for pair in zip(upper, lower, strict=True)]


def bounds(matrix: np.ndarray) -> list[int]:
    """Return the largest magnitude of each column."""
    return [max(int(high), -int(low)) for high, low in zip(_edge(matrix, "max"), _edge(matrix, "min"), strict=True)]


def plan_for(rows: int, magnitudes: Sequence[int]) -> Plan:
    """Find the cheapest plan for a matrix; see `cheapest`."""
    return cheapest(rows, magnitudes)[0]


def cheapest(rows: int, magnitudes: Sequence[int]) -> tuple[Plan, float]:
    """Find the cheapest plan, and how many modular multiplications it takes.

    Args:
        magnitudes: the largest magnitude of each column.
    """
    largest = max(magnitudes, default=0)
    best, least = Plan(3, 1), float("inf")
    for places in count(1):
        radix = _radix(largest, places)
        number = sum(digits_needed(bound, radix) for bound in magnitudes)
        axes = 1
        while radix**axes <= _MAX_BUCKETS and axes <= max(1, number):
            cost = number * 2 * (radix + radix.bit_length() + 4) + -(-number // axes) * _pass_cost(rows, radix, axes)
            if cost < least:
                best, least = Plan(radix, axes), cost
            axes += 1
        if radix == 3:
            return best, least
    raise AssertionError("the radix falls to 3")


def _pass_cost(rows: int, radix: int, axes: int) -> float:
    """Multiplications of filling the buckets and of bringing them down to one line an axis."""
    filled: list[float] = [size * -math.expm1(-rows / size) for size in (radix**axis for axis in range(2, axes + 1))]
    # The first value of a bucket costs next to nothing; splitting an axis off uses every filled bucket twice.
    first = filled[-1] if filled else float(min(rows, radix))
    return rows - first + 2 * sum(filled)


def _radix(largest: int, places: int) -> int:
    """The smallest odd radix of which `places` balanced digits hold -largest..largest; at least 3."""
    root, exact = gmpy2.iroot(mpz(2 * largest + 1), places)
    return max(3, (int(root) + (0 if exact else 1)) | 1)


def digits_needed(bound: int, radix: int) -> int:
    """Return how many balanced digits hold -bound..bound."""
    digits, span = 0, 1
    while span < 2 * bound + 1:
        digits, span = digits + 1, span * radix
    return digits


def _edge(matrix: np.ndarray, side: str) -> np.ndarray:
    edge: np.ndarray = getattr(matrix, side)(axis=0, initial=0)
    return edge


def planes(matrix: np.ndarray, places: Sequence[int], radix: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Cut every column into digits, lowest place first, as (column, place,
    digits 0..radix-1 that stand for -half..half).
    """
    half = radix // 2
    for column, number in enumerate(places):
        rest = np.ascontiguousarray(matrix[:, column])
        for place in range(number):
            # Not (rest + half) % radix: that sum leaves int64 at the edge of the range; nor divmod, which is slower.
            quotient = rest // radix
            rest, digits = quotient, rest - quotient * radix
            carry = digits > half
            rest = rest + carry
            yield column, place, np.where(carry, digits - half - 1, digits + half)


def _fill(planes: Sequence[np.ndarray], ciphertexts: Sequence[mpz], nsquare: mpz, radix: int) -> list[mpz]:
    """Multiply every ciphertext into the bucket of its digits; the last plane varies fastest."""
    index = planes[0]
    for plane in planes[1:]:
        index = index * radix + plane
    size = radix ** len(planes)
    rows = np.flatnonzero(index != size // 2)
    if len(rows) < len(index):
        # All digits zero, which is the middle bucket: the ciphertext does not count in this pass.
        index = index[rows]
        ciphertexts = [ciphertexts[row] for row in rows.tolist()]
    buckets = [mpz(1)] * size
    for place, ciphertext in zip(index.tolist(), ciphertexts, strict=True):
        buckets[place] = buckets[place] * ciphertext % nsquare
    return buckets


def _lines(buckets: list[mpz], axes: int, radix: int, nsquare: mpz) -> list[list[mpz]]:
    """The products of the buckets along each axis: for every digit of an axis, over all digits of the others."""
    lines: list[list[mpz]] = []
    for _ in range(axes - 1):
        filled = [(place, bucket) for place, bucket in enumerate(buckets) if bucket != 1]
        last = [mpz(1)] * radix
        lead = [mpz(1)] * (len(buckets) // radix)
        for place, bucket in filled:
            high, low = divmod(place, radix)
            last[low] = last[low] * bucket % nsquare
            lead[high] = lead[high] * bucket % nsquare
        lines.append(last)
        buckets = lead
    lines.append(buckets)
    lines.reverse()
    return lines


def _weigh(line: Sequence[mpz], nsquare: mpz) -> tuple[mpz, mpz]:
    """prod line[half + d]**d and prod line[half - d]**d over d = 1..half."""
    half = len(line) // 2
    return _suffix(line[:half:-1], nsquare), _suffix(line[:half], nsquare)


def _suffix(descending: Sequence[mpz], nsquare: mpz) -> mpz:
    """The product of values weighted len, len - 1, ..., 1."""
    running = result = mpz(1)
    for value in descending:
        running = running * value % nsquare
        result = result * running % nsquare
    return result


def _compose(upper: Sequence[mpz], lower: Sequence[mpz], radix: int, nsquare: mpz) -> mpz:
    """prod (upper[k] / lower[k])**(radix**k), with one inversion."""
    numerator, divisor = (_horner(values, radix, nsquare) for values in (upper, lower))
    if divisor == 1:
        return numerator
    try:
        return product((numerator, gmpy2.invert(divisor, nsquare)), nsquare)
    except ZeroDivisionError as error:
        raise InvalidCiphertext("a ciphertext is not a unit modulo n^2") from error


def _horner(values: Sequence[mpz], radix: int, nsquare: mpz) -> mpz:
    result = mpz(1)
    for value in reversed(values):
        result = gmpy2.powmod(result, radix, nsquare) * value % nsquare
    return result
