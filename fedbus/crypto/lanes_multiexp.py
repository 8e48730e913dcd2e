"""Many products of powers of the same ciphertexts are computed eight at a time, by buckets or by tables of powers.

The buckets are those of `multiexp`, which explains them. Each bucket is the product of the ciphertexts whose digits are
its own, so the rows are sorted by bucket and every lane works through one bucket after the other: no lane waits for
another, whatever the shape of the matrix, and a bucket is written once.

For few ciphertexts and many columns, as in X [[w]], a table of powers of each ciphertext costs less: then a cell takes
one multiplication a digit and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import gmpy2
import numpy as np
from gmpy2 import mpz

from fedbus.crypto import multiexp
from fedbus.crypto.integers import pack, unpack
from fedbus.crypto.multiexp import Plan
from fedbus.crypto.ring import Ring
from fedbus.errors import InvalidCiphertext

# Entries of one call: enough to keep the lanes at work, few enough for little memory.
_BATCH = 1 << 17
_MAX_TABLE_BYTES = 1 << 26


def matvec(
    ring: Ring, matrix: np.ndarray, blob: bytes, nsquare: mpz, width: int, numbers: bytes | None = None
) -> bytes:
    """Compute what `multiexp.matvec` does, of big-endian ciphertexts of `width` bytes in one blob;
    `numbers` are the same, loaded.
    """
    rows = len(blob) // width
    if matrix.ndim != 2 or matrix.dtype != np.int64 or len(matrix) != rows:
        raise ValueError(f"a matrix {matrix.shape} of {matrix.dtype} does not fit {rows} ciphertexts")
    if not matrix.size:
        return pack([mpz(1)] * matrix.shape[1], width)
    bounds = multiexp.bounds(matrix)
    plan, cost = multiexp.cheapest(rows, bounds)
    window, table_cost = _window(ring, matrix)
    if table_cost < cost:
        return _by_tables(ring, matrix, blob, nsquare, width, window)
    numbers = numbers or ring.load(blob, width)
    upper, lower = _by_buckets(ring, matrix, numbers, plan, bounds)
    return _divide(ring.dump(upper, width), ring.dump(lower, width), nsquare, width)


def _divide(upper: bytes, lower: bytes, nsquare: mpz, width: int) -> bytes:
    """Quotients, element by element, with one inversion for all."""
    divisors = unpack(lower, width)
    before = [mpz(1)]
    for divisor in divisors:
        before.append(before[-1] * divisor % nsquare)
    try:
        inverse = gmpy2.invert(before.pop(), nsquare)
    except ZeroDivisionError as error:
        raise InvalidCiphertext("a ciphertext is not a unit modulo n^2") from error
    quotients = []
    for numerator, divisor, others in zip(
        reversed(unpack(upper, width)), reversed(divisors), reversed(before), strict=True
    ):
        quotients.append(numerator * (others * inverse % nsquare) % nsquare)
        inverse = inverse * divisor % nsquare
    return pack(reversed(quotients), width)


def _by_buckets(
    ring: Ring, matrix: np.ndarray, numbers: bytes, plan: Plan, bounds: Sequence[int]
) -> tuple[bytes, bytes]:
    """Return, for each column, the numbers of which the first divided by the second is wanted."""
    places = [multiexp.digits_needed(bound, plan.radix) for bound in bounds]
    columns, highest, half = len(places), max(places), plan.radix // 2
    # Where a column has no such place the digits are 0 and the product is 1.
    weighed = [[ring.one] * columns * 2 for _ in range(highest)]
    for planes in _batches(multiexp.planes(matrix, places, plan.radix), _planes_a_batch(len(matrix), plan)):
        table, lines = _lines(ring, [digits for _, _, digits in planes], numbers, plan)
        # Digits of the line from the highest and from the lowest, towards the middle, which is digit 0.
        indices = np.stack([lines[:, :half:-1], lines[:, :half]], axis=1).reshape(-1, half)
        results = _split(ring.weigh(table, indices), ring.size)
        for number, (column, place, _) in enumerate(planes):
            weighed[place][column], weighed[place][columns + column] = results[2 * number : 2 * number + 2]
    result = b"".join(weighed.pop()) if weighed else ring.one * (2 * columns)
    while weighed:
        result = ring.times(ring.raise_(result, plan.radix), b"".join(weighed.pop()))
    return result[: columns * ring.size], result[columns * ring.size :]


def _planes_a_batch(rows: int, plan: Plan) -> int:
    """A multiple of the planes of a pass, so that all but the last batch have whole passes."""
    size: int = plan.radix**plan.axes
    return plan.axes * max(1, _BATCH // max(rows, size))


def _batches(planes: Iterator[tuple[int, int, np.ndarray]], count: int) -> Iterator[list[tuple[int, int, np.ndarray]]]:
    batch = []
    for plane in planes:
        batch.append(plane)
        if len(batch) == count:
            yield batch
            batch = []
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class _Group:
    """Entries of a table to be multiplied together by key.

    Attributes:
        planes: those whose digits make up the keys, the last varying fastest.
        size: keys are below it.
    """

    planes: Sequence[int]
    keys: np.ndarray
    entries: np.ndarray
    size: int


def _lines(ring: Ring, planes: Sequence[np.ndarray], numbers: bytes, plan: Plan) -> tuple[bytes, np.ndarray]:
    """The products of all ciphertexts that have a digit in a plane, for every plane and digit.

    Returns:
        A table of numbers, and as (planes, radix) the entry of each product; -1 is the number 1.
    """
    radix, groups = plan.radix, []
    for first in range(0, len(planes), plan.axes):
        names = range(first, min(first + plan.axes, len(planes)))
        keys, size = planes[first], radix
        for name in names[1:]:
            keys, size = keys * radix + planes[name], size * radix
        # All digits zero, which is the middle bucket: the ciphertext does not count in this pass.
        rows = np.flatnonzero(keys != size // 2)
        groups.append(_Group(names, keys[rows], rows, size))
    lines = np.empty((len(planes), radix), np.int64)
    finished, offset, table = [], 0, numbers
    while groups:
        table, found = _multiply(ring, table, groups)
        done, folded = False, []
        for group, entries in zip(groups, found, strict=True):
            if len(group.planes) == 1:
                lines[group.planes[0]] = np.where(entries < 0, -1, entries + offset)
                done = True
                continue
            filled = np.flatnonzero(entries >= 0)
            high, low = np.divmod(filled, radix)
            folded.append(_Group(group.planes[-1:], low, entries[filled], radix))
            folded.append(_Group(group.planes[:-1], high, entries[filled], group.size // radix))
        if done:
            finished.append(table)
            offset += len(table) // ring.size
        groups = folded
    return finished[0] if len(finished) == 1 else b"".join(finished), lines


def _multiply(ring: Ring, table: bytes, groups: Sequence[_Group]) -> tuple[bytes, list[np.ndarray]]:
    """The products by key: a table, and for each group the entry of every key, or -1 where none has it."""
    indices, lengths, found, used = [], [], [], 0
    for group in groups:
        # Keys of 16 bits are sorted in linear time.
        indices.append(group.entries[np.argsort(group.keys.astype(np.uint16), kind="stable")])
        counts = np.bincount(group.keys, minlength=group.size)
        filled = np.flatnonzero(counts)
        entries = np.full(group.size, -1)
        entries[filled] = np.arange(used, used + len(filled))
        lengths.append(counts[filled])
        found.append(entries)
        used += len(filled)
    starts = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    return ring.products(table, starts, np.concatenate(indices)), found


def _window(ring: Ring, matrix: np.ndarray) -> tuple[int, float]:
    """The window of `_by_tables` that takes the fewest multiplications, and how many they are."""
    # Exact modulo 2^64; a span that is rounded up to the next power of two has one bit too many, which costs little.
    spans = matrix.max(axis=1).astype(np.uint64) - matrix.min(axis=1).astype(np.uint64)
    bits = np.frexp(spans.astype(np.float64))[1]
    best, least = 0, float("inf")
    for window in range(1, 17):
        digits = int(np.sum(-(-bits // window)))
        cost = float((digits << window) + digits * matrix.shape[1])
        if cost < least and (digits << window) * ring.size <= _MAX_TABLE_BYTES:
            best, least = window, cost
    return best, least


def _by_tables(ring: Ring, matrix: np.ndarray, blob: bytes, nsquare: mpz, width: int, window: int) -> bytes:
    """Every cell is what its row's least is, for which one number serves all columns, and digits that are not negative.

    Source: Brickell, Gordon, McCurley, Wilson, "Fast exponentiation with precomputation", EUROCRYPT 1992, section 2.
    """
    least = matrix.min(axis=1)
    # Modulo 2^64, in which differences of int64 are exact.
    rest = matrix.astype(np.uint64) - least.astype(np.uint64)[:, np.newaxis]
    common = multiexp.matvec(least[:, np.newaxis], unpack(blob, width), nsquare)
    numbers, bases, digits = ring.load(blob, width), [], []
    while rest.any():
        used = np.flatnonzero(rest.any(axis=1))
        rest = rest[used]
        numbers = b"".join(_split(numbers, ring.size)[row] for row in used.tolist())
        bases.append(numbers)
        digits.append((rest & np.uint64((1 << window) - 1)).astype(np.int32))
        rest = rest >> np.uint64(window)
        numbers = ring.raise_(numbers, 1 << window) if rest.any() else b""
    table = ring.powers(b"".join(bases), 1 << window) + ring.load(pack(common, width), width)
    last = len(table) // ring.size - 1
    places = np.concatenate([*digits, np.zeros((1, matrix.shape[1]), np.int32)])
    places += np.minimum(np.arange(len(places), dtype=np.int32) << window, last)[:, np.newaxis]
    results = []
    step = max(1, _BATCH // len(places))
    for first in range(0, matrix.shape[1], step):
        indices = places[:, first : first + step].T
        results.append(ring.products(table, np.arange(len(indices) + 1) * len(places), indices))
    return ring.dump(b"".join(results), width)


def _split(numbers: bytes, size: int) -> list[bytes]:
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]
