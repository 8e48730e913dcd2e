"""The alignment group: ristretto255, a group of prime order in which every valid encoding is one element.

Source: de Valence, Grigg, Hamburg, Lovecruft, Tankersley, Valsorda, "The ristretto255 and decaf448 groups", RFC 9496.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import rbcl
from rbcl import rbcl as _library

from fedbus.errors import InvalidPoint

# rbcl writes libsodium to a new temporary file at every import, in every process, and leaves it there.
Path(_library._sodium._name).unlink(missing_ok=True)

POINT_BYTES = 32
SCALAR_BYTES = 32
ORDER = 2**252 + 27742317777372353535851937790883648493
_LENGTH_BYTES = 8


def hash_to_group(ids: Sequence[str], domain: bytes) -> bytes:
    """Elements of the group that stand for ids; nobody knows the discrete logarithm between two of them.

    Args:
        ids: any text; equal ids of one domain give equal elements.
        domain: what sets this use apart from every other, such as the job.

    Returns:
        len(ids) * POINT_BYTES, in order.

    Source: RFC 9496, section 4.3.4, of SHA-512 of the length of the domain, the domain and the id in UTF-8.
    """
    # The length keeps domain "a" with id "bc" apart from domain "ab" with id "c".
    prefix = hashlib.sha512(len(domain).to_bytes(_LENGTH_BYTES, "big") + domain)
    points = []
    for text in ids:
        digest = prefix.copy()
        digest.update(text.encode())
        points.append(rbcl.crypto_core_ristretto255_from_hash(digest.digest()))
    return b"".join(points)


def blind(points: bytes, scalar: bytes, first: int = 0) -> bytes:
    """Raise elements to a secret exponent; every element is validated.

    Args:
        points: a whole number of encodings of POINT_BYTES.
        scalar: little-endian, 1 to ORDER - 1, SCALAR_BYTES long.
        first: the index of the first element, where these are a part of more.

    Returns:
        As many elements, in order.

    Raises:
        InvalidPoint: an encoding is not that of an element, or is the identity; the message names its index.
        ValueError: the exponent is out of range.
    """
    if len(points) % POINT_BYTES:
        raise InvalidPoint(f"{len(points)} bytes are not a whole number of elements")
    if len(scalar) != SCALAR_BYTES or not 0 < int.from_bytes(scalar, "little") < ORDER:
        raise ValueError("a secret exponent has 32 bytes and lies between 1 and the order of the group")
    blinded = []
    for start in range(0, len(points), POINT_BYTES):
        try:
            blinded.append(rbcl.crypto_scalarmult_ristretto255(scalar, points[start : start + POINT_BYTES]))
        except RuntimeError as error:
            # libsodium decodes strictly, and refuses a result that is the identity: in a group of prime order and
            # with such an exponent, only the identity itself gives that.
            index = first + start // POINT_BYTES
            raise InvalidPoint(f"element {index} is no element of the group, or its identity") from error
    return b"".join(blinded)
