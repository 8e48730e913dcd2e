"""Curve25519 in plain integers, slowly: what the native arithmetic is compared with."""

from __future__ import annotations

import hashlib

P = 2**255 - 19
J = 486662
# Of the curve's subgroup of prime order, and of the twist's.
ORDER = 2**252 + 27742317777372353535851937790883648493
TWIST_ORDER = 2**253 - 55484635554744707071703875581767296995


def encode(u: int) -> bytes:
    """A coordinate as 32 bytes, little-endian."""
    return u.to_bytes(32, "little")


def is_square(value: int) -> bool:
    """Whether a number has a square root modulo P."""
    return pow(value, (P - 1) // 2, P) in (0, 1)


def on_curve(u: int) -> bool:
    """Whether a u-coordinate is that of a point of the curve, and not of its twist."""
    return is_square(u * u * u + J * u * u + u)


def expand(message: bytes, tag: bytes, count: int) -> bytes:
    """expand_message_xmd with SHA-512, of up to 64 bytes: RFC 9380, section 5.3.1."""
    suffix = tag + bytes([len(tag)])
    first = hashlib.sha512(bytes(128) + message + count.to_bytes(2, "big") + b"\0" + suffix).digest()
    return hashlib.sha512(first + b"\1" + suffix).digest()[:count]


def map_to_curve(number: int) -> int:
    """The u-coordinate of map_to_curve_elligator2: RFC 9380, section 6.7.1, with Z = 2."""
    x = -J * pow(1 + 2 * number * number, -1, P) % P
    return x if on_curve(x) else (-x - J) % P


def encode_to_curve(text: str, tag: bytes) -> bytes:
    """The point of an id before its cofactor is cleared: RFC 9380, section 8.5."""
    return encode(map_to_curve(int.from_bytes(expand(text.encode(), tag, 48), "big") % P))


def ladder(scalar: int, u: int) -> int:
    """The u-coordinate of a multiple, 0 for the point at infinity: RFC 7748, section 5, for any scalar."""
    x2, z2, x3, z3 = 1, 0, u, 1
    for at in reversed(range(scalar.bit_length())):
        bit = scalar >> at & 1
        if bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        e = a * a - b * b
        x3, z3 = (d * a + c * b) ** 2 % P, u * (d * a - c * b) ** 2 % P
        x2, z2 = a * a * b * b % P, e * (a * a + 121665 * e) % P
        if bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return x2 * pow(z2, P - 2, P) % P
