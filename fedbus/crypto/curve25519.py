"""X25519 is computed here without the extension: OpenSSL raises points to exponents, and gmpy2 maps ids to the curve.

The functions are those of `_x25519` and give the same bytes. Exponents are in OpenSSL's hands only, which takes the
same time for all of them. Mapping an id takes a time that depends on it, as gmpy2's Legendre symbol does: who can
measure inside this machine may learn of ids from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache

import gmpy2
import numpy as np
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

POINT_BYTES = 32
_P = gmpy2.mpz(2**255 - 19)
_J = 486662
_MAX_TAG_BYTES = 255
# Of hash_to_field: the bytes that are reduced modulo the prime; and of the hash's blocks.
_EXPANDED_BYTES = 48
_BLOCK_BYTES = 128
_WORD = np.dtype("<u8")
_ALL_ONES = 2**64 - 1


@cache
def supported() -> bool:
    """Return whether OpenSSL has X25519; where it keeps to FIPS it may not."""
    try:
        X25519PrivateKey.from_private_bytes(bytes(POINT_BYTES))
    except UnsupportedAlgorithm:
        return False
    return True


def exchange(scalar: bytes, points: bytes) -> bytes:
    """Apply X25519 (RFC 7748, section 5) to every point, in order;
    the result is all zero where a point is of low order.
    """
    key, results = X25519PrivateKey.from_private_bytes(scalar), []
    for start in range(0, len(points), POINT_BYTES):
        point = X25519PublicKey.from_public_bytes(points[start : start + POINT_BYTES])
        try:
            results.append(key.exchange(point))
        except ValueError:
            results.append(bytes(POINT_BYTES))
    return b"".join(results)


def encode(ids: Sequence[str], tag: bytes) -> bytes:
    """Map each id to the u-coordinate of curve25519_XMD:SHA-512_ELL2_NU_, before clear_cofactor.

    Source: RFC 9380, sections 5.3.1 (expand_message_xmd), 5.2 (hash_to_field), 6.7.1 (map_to_curve_elligator2). With
    t = 2 u^2 the point is -J / (1 + t) where that is on the curve, else -J t / (1 + t).
    """
    if not 1 <= len(tag) <= _MAX_TAG_BYTES:
        raise ValueError("a domain separation tag has 1 to 255 bytes")
    padded = hashlib.sha512(bytes(_BLOCK_BYTES))
    suffix = tag + bytes([len(tag)])
    first_suffix, second_suffix = bytes([0, _EXPANDED_BYTES, 0]) + suffix, b"\1" + suffix
    numerators, denominators, products, product = [], [], [], gmpy2.mpz(1)
    for text in ids:
        first = padded.copy()
        first.update(text.encode() + first_suffix)
        expanded = hashlib.sha512(first.digest() + second_suffix).digest()[:_EXPANDED_BYTES]
        u = gmpy2.mpz(int.from_bytes(expanded, "big"))
        t = 2 * u * u % _P
        denominator = t + 1
        # y^2 times the denominator's fourth power, less -1, which is a square.
        on_curve = gmpy2.legendre(_J * denominator * (denominator * denominator - _J * _J * t) % _P, _P) == 1
        numerators.append(-_J if on_curve else -_J * t)
        denominators.append(denominator)
        products.append(product)
        product = product * denominator % _P
    # Montgomery's trick: one inversion for all.
    inverse, points = gmpy2.invert(product, _P), []
    for numerator, denominator, before in zip(
        reversed(numerators), reversed(denominators), reversed(products), strict=True
    ):
        points.append(int(numerator * inverse * before % _P).to_bytes(POINT_BYTES, "little"))
        inverse = inverse * denominator % _P
    return b"".join(reversed(points))


def first_invalid(points: bytes) -> int:
    """Return the index of the first point that is zero or not below the prime, and -1 where there is none."""
    words = np.frombuffer(points, dtype=_WORD).reshape(-1, POINT_BYTES // _WORD.itemsize)
    top = words[:, 3]
    middle = (words[:, 1] == _ALL_ONES) & (words[:, 2] == _ALL_ONES)
    large = (top > _ALL_ONES >> 1) | ((top == _ALL_ONES >> 1) & middle & (words[:, 0] > _ALL_ONES - 19))
    found = np.flatnonzero(large | ~words.any(axis=1))
    return int(found[0]) if len(found) else -1
