"""Ed25519 keys as X25519 keys: one key pair of an identity signs and agrees on secrets.

A point (x, y) of edwards25519 is the point u = (1 + y) / (1 - y) of Curve25519, and the scalar that signs is the one
that agrees. This arithmetic has public keys only in its hands, so its time tells nothing of a secret; the private key
goes through SHA-512 alone.

Source: Langley, Hamburg, Turner, RFC 7748, section 4.1 (the map); Josefsson, Liusvaara, RFC 8032, section 5.1.5 (the
private scalar); Thormarker, "On using the same key pair for Ed25519 and an X25519 based KEM", 2021 (that both uses of
one key pair are jointly secure).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import gmpy2

KEY_BYTES = 32
_P = gmpy2.mpz(2**255 - 19)
_D = -121665 * pow(121666, -1, _P) % _P
_SQRT_OF_MINUS_1 = pow(2, (_P - 1) // 4, _P)
# Of the subgroup that the base point generates.
_ORDER = 2**252 + 27742317777372353535851937790883648493
_SIGN = 1 << 255
# Rosters are read again and again, with the same keys on them.
_REMEMBERED = 4096

# (X, Y, Z, T), numbers of gmpy2, with x = X / Z, y = Y / Z, x y = T / Z.
_Point = tuple[Any, Any, Any, Any]
_NEUTRAL: _Point = (0, 1, 1, 0)


def private_to_x25519(private: bytes) -> bytes:
    """The X25519 private key, KEY_BYTES, of an Ed25519 private key.

    Raises:
        ValueError: the private key is not KEY_BYTES long.
    """
    if len(private) != KEY_BYTES:
        raise ValueError(f"a private key has {KEY_BYTES} bytes")
    scalar = bytearray(hashlib.sha512(private).digest()[:KEY_BYTES])
    scalar[0] &= 0b1111_1000
    scalar[31] &= 0b0111_1111
    scalar[31] |= 0b0100_0000
    return bytes(scalar)


def public_to_x25519(public: bytes) -> bytes:
    """The X25519 public key, KEY_BYTES, of an Ed25519 public key that `is_sound`.

    Raises:
        ValueError: it is not sound.
    """
    if not is_sound(public):
        raise ValueError("not the public key of any private key")
    y = int.from_bytes(public, "little") % _SIGN
    return int((1 + y) * pow(1 - y, -1, _P) % _P).to_bytes(KEY_BYTES, "little")


@lru_cache(_REMEMBERED)
def is_sound(public: bytes) -> bool:
    """Whether an Ed25519 public key can be that of a private key: a canonical encoding of a point of prime order.

    Others are of use to attackers only. A point of low order lets anybody sign and makes agreed secrets known to all; a
    point with a part of low order, or an encoding that is not reduced, is a second key of the same private key.

    Source: Chalkias, Garillot, Nikolaenko, "Taming the many EdDSAs", SSR 2020.
    """
    point = _decode(public) if len(public) == KEY_BYTES else None
    return point is not None and not _is_neutral(point) and _is_neutral(_times(_ORDER, point))


def _decode(public: bytes) -> _Point | None:
    """RFC 8032, section 5.1.3; None where the bytes are no canonical encoding of a point of the curve."""
    encoded = int.from_bytes(public, "little")
    sign, y = encoded >> 255, gmpy2.mpz(encoded % _SIGN)
    if y >= _P:
        return None
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    if v * x * x % _P == -u % _P:
        x = x * _SQRT_OF_MINUS_1 % _P
    if v * x * x % _P != u or (x == 0 and sign):
        return None
    x = x if x & 1 == sign else _P - x
    return x, y, 1, x * y % _P


def _is_neutral(point: _Point) -> bool:
    x, y, z, _ = point
    return not x % _P and not (y - z) % _P


def _times(scalar: int, point: _Point) -> _Point:
    product = _NEUTRAL
    for bit in bin(scalar)[2:]:
        product = _add(product, product)
        if bit == "1":
            product = _add(product, point)
    return product


def _add(one: _Point, other: _Point) -> _Point:
    """RFC 8032, section 5.1.4; the formulas hold for equal points too."""
    a = (one[1] - one[0]) * (other[1] - other[0]) % _P
    b = (one[1] + one[0]) * (other[1] + other[0]) % _P
    c = 2 * one[3] * other[3] * _D % _P
    d = 2 * one[2] * other[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P
