"""The alignment blinds ids by secret exponents in one of these groups:
x25519, or ristretto255 where that cannot be used.

x25519: points of Curve25519 by their u-coordinates (Langley, Hamburg, Turner, RFC 7748), ids mapped to it by
Elligator 2 (Bernstein, Hamburg, Krasnova, Lange, CCS 2013; RFC 9380); by the extension _x25519, eight at a time, or by
curve25519.py.

ristretto255: a group of prime order in which every valid encoding is one element (de Valence, Grigg, Hamburg,
Lovecruft, Tankersley, Valsorda, "The ristretto255 and decaf448 groups", RFC 9496), by libsodium.

Why u-coordinates are as good here, and what is checked of them: docs/explanation/alignment.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import rbcl
from rbcl import rbcl as _library

from fedbus import environment
from fedbus.crypto import curve25519
from fedbus.errors import CryptoError, InvalidPoint

_native: Any
try:
    from fedbus.crypto import _x25519 as _native  # type: ignore[attr-defined,no-redef,unused-ignore]
except ImportError:
    _native = None

# rbcl writes libsodium to a new temporary file at every import, in every process, and leaves it there.
Path(_library._sodium._name).unlink(missing_ok=True)

X25519, RISTRETTO255 = "x25519", "ristretto255"
# The fastest first.
GROUPS = (X25519, RISTRETTO255)
# Of either group.
POINT_BYTES = curve25519.POINT_BYTES
SCALAR_BYTES = 32
# Of ristretto255.
ORDER = 2**252 + 27742317777372353535851937790883648493
_LENGTH_BYTES = 8
_TAG = b"fedbus-V01-CS01-with-curve25519_XMD:SHA-512_ELL2_NU_"
_PORTABLE = "portable"


def native() -> bool:
    """Return whether x25519 is computed by the extension, which releases the interpreter's lock."""
    return _native is not None and bool(_native.supported) and environment.tier() != _PORTABLE


def groups() -> tuple[str, ...]:
    """Return the groups in which this process computes, the fastest first."""
    return GROUPS if native() or curve25519.supported() else (RISTRETTO255,)


def agree(one: Collection[str], other: Collection[str]) -> str | None:
    """Return the fastest group that both have, of two who compute in these, whoever asks; None where there is none."""
    return next((group for group in GROUPS if group in one and group in other), None)


def hash_to_group(ids: Sequence[str], domain: bytes, group: str = RISTRETTO255) -> bytes:
    """Turn ids into elements of a group. Nobody knows the discrete logarithm between two of them.

    Elements of x25519 are ones of Curve25519 whose cofactor is not cleared yet: the next `blind` does.

    Args:
        ids: any text; equal ids of one domain give equal elements.
        domain: what sets this use apart from every other, such as the job; at most 200 bytes.

    Returns:
        len(ids) * POINT_BYTES, in order.

    Source: RFC 9496, section 4.3.4, of SHA-512 of the length of the domain, the domain and the id in UTF-8; RFC 9380,
    section 8.5, curve25519_XMD:SHA-512_ELL2_NU_, the domain being part of the tag.
    """
    if group == X25519:
        points: bytes = _implementation().encode(ids, _TAG + domain)
        return points
    # The length keeps domain "a" with id "bc" apart from domain "ab" with id "c".
    prefix = hashlib.sha512(len(domain).to_bytes(_LENGTH_BYTES, "big") + domain)
    hashed = []
    for text in ids:
        digest = prefix.copy()
        digest.update(text.encode())
        hashed.append(rbcl.crypto_core_ristretto255_from_hash(digest.digest()))
    return b"".join(hashed)


def blind(points: bytes, scalar: bytes, first: int = 0, group: str = RISTRETTO255) -> bytes:
    """Raise elements to a secret exponent, after checking each of them.

    Args:
        points: a whole number of encodings of POINT_BYTES.
        scalar: SCALAR_BYTES, little-endian: of ristretto255 1 to ORDER - 1, of x25519 any, for it is clamped.
        first: the index of the first element, where these are a part of more.

    Returns:
        As many elements, in order.

    Raises:
        InvalidPoint: an encoding is not that of an element, or is the identity or of low order; the message names its
            index.
        ValueError: the exponent is out of range.
        CryptoError: this process does not compute in the group.
    """
    if len(points) % POINT_BYTES:
        raise InvalidPoint(f"{len(points)} bytes are not a whole number of elements")
    if group == X25519:
        return _exchange(points, scalar, first)
    if len(scalar) != SCALAR_BYTES or not 0 < int.from_bytes(scalar, "little") < ORDER:
        raise ValueError("a secret exponent has 32 bytes and lies between 1 and the order of the group")
    blinded = []
    for start in range(0, len(points), POINT_BYTES):
        try:
            blinded.append(rbcl.crypto_scalarmult_ristretto255(scalar, points[start : start + POINT_BYTES]))
        except RuntimeError as error:
            # libsodium decodes strictly, and refuses a result that is the identity: in a group of prime order and
            # with such an exponent, only the identity itself gives that.
            raise _invalid(first + start // POINT_BYTES) from error
    return b"".join(blinded)


def _exchange(points: bytes, scalar: bytes, first: int) -> bytes:
    x25519 = _implementation()
    # An encoding that is not reduced would let one element pass for two. A point of low order gives zero, as a clamped
    # exponent is a multiple of every low order, and of no other.
    index = x25519.first_invalid(points)
    if index < 0:
        blinded: bytes = x25519.exchange(scalar, points)
        index = x25519.first_invalid(blinded)
    if index >= 0:
        raise _invalid(first + index)
    return blinded


def _implementation() -> Any:
    if native():
        return _native
    if not curve25519.supported():
        raise CryptoError("this process cannot compute in x25519: its OpenSSL lacks it; was it replaced during a job?")
    return curve25519


def _invalid(index: int) -> InvalidPoint:
    return InvalidPoint(f"element {index} is no element of the group, or its identity")
