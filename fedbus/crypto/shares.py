"""Seeds are shared by Shamir's secret sharing:
any `threshold` holders of a share open the secret, and fewer know nothing of it.

The library shamirs splits; it draws coefficients from the operating system's generator. Opening is done here: the
Lagrange coefficients depend on the holders only, so many secrets that the same holders have shares of cost one inner
product each.

Source: Shamir, "How to share a secret", Communications of the ACM 22(11), 1979; Berrut, Trefethen, "Barycentric
Lagrange interpolation", SIAM Review 46(3), 2004, section 3 (the coefficients).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import shamirs

from fedbus.errors import CryptoError

SECRET_BYTES = 16
SHARE_BYTES = 17
# The prime of Poly1305, the first below 2**130: room for all secrets, and a share is one byte longer.
PRIME = 2**130 - 5
# A share with threshold 1 would be the secret itself.
MIN_THRESHOLD = 2


def split(secret: bytes, count: int, threshold: int) -> list[bytes]:
    """Divide a secret into shares, at random at each call; shares of two calls do not go together.

    Args:
        secret: SECRET_BYTES.
        count: how many holders there are.
        threshold: how many of them open the secret, MIN_THRESHOLD to `count`.

    Returns:
        `count` shares of SHARE_BYTES; that of holder i is the polynomial's value at i + 1, big-endian.

    Raises:
        ValueError: a secret of another length, or a threshold out of range.
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes")
    if not MIN_THRESHOLD <= threshold <= count:
        raise ValueError(f"a threshold is {MIN_THRESHOLD} to the number of holders, {count}; not {threshold}")
    points = shamirs.shares(int.from_bytes(secret, "big"), count, modulus=PRIME, threshold=threshold, compact=True)
    return [int(value).to_bytes(SHARE_BYTES, "big") for _, value in points]


def open_all(shares: Mapping[int, Sequence[bytes]], threshold: int) -> list[bytes]:
    """Open the secrets of which the same holders have shares.

    The holders of lowest index open them; the shares of all others are compared with what they should be.

    Args:
        shares: for each holder's index i the shares that `split` gave for it, in the order of the secrets.
        threshold: that of `split`, for all secrets.

    Returns:
        The secrets in order, SECRET_BYTES each.

    Raises:
        CryptoError: fewer holders than the threshold, a share that is none, holders with shares of different numbers
            of secrets, a surplus share that does not agree with the others, or shares of no secret; names the holder
            where one can be named.
        ValueError: the threshold is below MIN_THRESHOLD, or an index is negative.
    """
    holders = sorted(shares)
    if threshold < MIN_THRESHOLD:
        raise ValueError(f"a threshold is {MIN_THRESHOLD} or more, not {threshold}")
    if len(holders) < threshold:
        raise CryptoError(f"{len(holders)} holders of shares are left, where {threshold} are needed to open a secret")
    if holders[0] < 0:
        raise ValueError(f"the index of a holder is not negative: {holders[0]}")
    values = {holder: _values(holder, shares[holder]) for holder in holders}
    count = len(values[holders[0]])
    for holder in holders:
        if len(values[holder]) != count:
            raise CryptoError(f"holder {holder} has {len(values[holder])} shares, holder {holders[0]} has {count}")
    used, surplus = holders[:threshold], holders[threshold:]
    columns = list(zip(*(values[holder] for holder in used), strict=True))
    weights = _weights([holder + 1 for holder in used])
    for holder in surplus:
        expected = _at(holder + 1, weights, columns)
        for number, (mine, other) in enumerate(zip(values[holder], expected, strict=True)):
            if mine != other:
                raise CryptoError(
                    f"share {number} of holder {holder} does not agree with those of holders {used[0]} to {used[-1]}: "
                    "one of them was changed, or they are of different secrets"
                )
    return [_secret(number, value) for number, value in enumerate(_at(0, weights, columns))]


def _values(holder: int, shares: Sequence[bytes]) -> list[int]:
    values = []
    for number, share in enumerate(shares):
        value = int.from_bytes(share, "big")
        if len(share) != SHARE_BYTES or value >= PRIME:
            raise CryptoError(f"share {number} of holder {holder} is no share: {SHARE_BYTES} bytes below the prime")
        values.append(value)
    return values


def _secret(number: int, value: int) -> bytes:
    if value >> (8 * SECRET_BYTES):
        raise CryptoError(f"the shares of secret {number} are of no secret: some were changed, or are of another one")
    return value.to_bytes(SECRET_BYTES, "big")


def _weights(points: Sequence[int]) -> dict[int, int]:
    """The barycentric weight of each point: the inverse of the product of its differences from all others."""
    weights = {}
    for point in points:
        product = 1
        for other in points:
            if other != point:
                product = product * (point - other) % PRIME
        weights[point] = pow(product, -1, PRIME)
    return weights


def _at(place: int, weights: Mapping[int, int], columns: Sequence[Sequence[int]]) -> list[int]:
    """The polynomials' values at a place that is none of the points.

    Args:
        columns: for each polynomial its values at the points, in the order of `weights`.
    """
    node = 1
    for point in weights:
        node = node * (place - point) % PRIME
    factors = [node * weight * pow(place - point, -1, PRIME) % PRIME for point, weight in weights.items()]
    return [sum(factor * value for factor, value in zip(factors, column, strict=True)) % PRIME for column in columns]
