"""Ed25519 keys as X25519 keys: known answers, what OpenSSL and libsodium make of the same keys, and keys of nobody."""

from __future__ import annotations

import ctypes

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from rbcl import rbcl as _library

from fedbus.crypto import edwards, sealing, signing
from places import vectors

VECTORS = vectors("x25519_of_ed25519.json")
P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
PRIVATE = st.binary(min_size=32, max_size=32)


@pytest.mark.parametrize(("private", "secret", "public"), VECTORS["converted"])
def test_converts_as_others_do(private: str, secret: str, public: str) -> None:
    key = bytes.fromhex(private)
    assert edwards.private_to_x25519(key).hex() == secret
    assert edwards.public_to_x25519(signing.public_key(key)).hex() == public


def test_agrees_on_the_known_secret() -> None:
    (_, one, ones), (_, other, others) = VECTORS["converted"][1:]
    assert sealing.agree(bytes.fromhex(one), bytes.fromhex(others)).hex() == VECTORS["agreed"]
    assert sealing.agree(bytes.fromhex(other), bytes.fromhex(ones)).hex() == VECTORS["agreed"]


@settings(max_examples=200)
@given(PRIVATE)
def test_the_public_key_of_the_converted_is_the_converted_public_key(private: bytes) -> None:
    own = X25519PrivateKey.from_private_bytes(edwards.private_to_x25519(private))
    assert own.public_key().public_bytes_raw() == edwards.public_to_x25519(signing.public_key(private))


@given(PRIVATE)
def test_converts_as_libsodium(private: bytes) -> None:
    converted, public = ctypes.create_string_buffer(32), signing.public_key(private)
    assert _library._sodium.crypto_sign_ed25519_pk_to_curve25519(converted, public) == 0
    assert converted.raw == edwards.public_to_x25519(public)


def encoded(y: int, sign: int) -> bytes:
    return (y + (sign << 255)).to_bytes(32, "little")


def y_of_order_8() -> int:
    """Of the points of order 8: d y^4 + 2 y^2 - 1 = 0, for twice such a point has y = 0, and x^2 = -y^2 follows."""
    root = pow(1 + D, (P + 3) // 8, P)
    root = root if root * root % P == (1 + D) % P else root * pow(2, (P - 1) // 4, P) % P
    assert root * root % P == (1 + D) % P
    for square in ((-1 + root) * pow(D, -1, P) % P, (-1 - root) * pow(D, -1, P) % P):
        y = pow(square, (P + 3) // 8, P)
        for each in (y, y * pow(2, (P - 1) // 4, P) % P):
            if each * each % P == square:
                return each
    raise AssertionError("the curve has points of order 8")


LOW = [0, 1, P - 1, y_of_order_8(), P - y_of_order_8()]


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("y", LOW, ids=["0", "1", "-1", "8", "-8"])
def test_points_of_low_order_are_keys_of_nobody(y: int, sign: int) -> None:
    assert not edwards.is_sound(encoded(y, sign))
    with pytest.raises(ValueError, match="not the public key of any private key"):
        edwards.public_to_x25519(encoded(y, sign))


def test_a_point_with_a_part_of_low_order_is_a_key_of_nobody() -> None:
    """With it X25519 would agree on the same secret as with the key itself, and one member would have many keys."""
    key = signing.public_key(b"k" * 32)
    point = edwards._decode(key)
    assert point is not None
    tried = 0
    for y in LOW:
        for sign in (0, 1):
            low = edwards._decode(encoded(y, sign))
            if low is None or y == 1:
                continue
            x, y_of_sum, z, _ = edwards._add(point, low)
            inverse = pow(int(z), -1, P)
            x, y_of_sum = int(x * inverse % P), int(y_of_sum * inverse % P)
            beside = encoded(y_of_sum, x & 1)
            assert beside != key
            assert not edwards.is_sound(beside)
            tried += 1
    # All of the eight but the neutral one, of which the sum is the key.
    assert tried == 7


@pytest.mark.parametrize("y", [P, P + 1, 2**255 - 1])
@pytest.mark.parametrize("sign", [0, 1])
def test_encodings_that_are_not_reduced_are_keys_of_nobody(y: int, sign: int) -> None:
    assert not edwards.is_sound(encoded(y, sign))


def test_bytes_that_are_no_point_are_keys_of_nobody() -> None:
    assert not edwards.is_sound(encoded(2, 0))
    assert not edwards.is_sound(b"")
    assert not edwards.is_sound(signing.public_key(b"k" * 32)[:31])
    assert not edwards.is_sound(signing.public_key(b"k" * 32) + b"\0")
    # Half of all texts are no points, and seven of eight points are none of prime order.
    sound = sum(edwards.is_sound(encoded(y, 0)) for y in range(2, 402))
    assert 5 <= sound <= 60


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_private_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        edwards.private_to_x25519(bytes(size))
