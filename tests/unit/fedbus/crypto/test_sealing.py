"""Sealed messages: keys as the RFC has them, bytes as defined, and what does not open."""

from __future__ import annotations

import hmac

import elligator
import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from elligator import P
from hypothesis import given
from hypothesis import strategies as st

from fedbus.crypto.sealing import OVERHEAD_BYTES, agree, derive, key_pair, open_sealed, seal
from fedbus.errors import CryptoError, InvalidPoint
from places import vectors

VECTORS = vectors("x25519.json")
KEY = bytes(range(32))
LOW_ORDER = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P - 1,
    P,
    P + 1,
]


def expand(secret: bytes, salt: bytes, info: bytes, count: int) -> bytes:
    """HKDF-SHA256 by its definition: RFC 5869, section 2."""
    pseudorandom = hmac.digest(salt, secret, "sha256")
    block, result = b"", b""
    for number in range(1, 256):
        if len(result) >= count:
            break
        block = hmac.digest(pseudorandom, block + info + bytes([number]), "sha256")
        result += block
    return result[:count]


@pytest.mark.parametrize(("scalar", "point", "result"), VECTORS["exchange"])
def test_agrees_as_the_rfc(scalar: str, point: str, result: str) -> None:
    assert agree(bytes.fromhex(scalar), bytes.fromhex(point)).hex() == result


def test_key_pairs_are_made_as_defined() -> None:
    """Who opens a seed from shares makes the pair again, in another version of fedbus too."""
    private, public = key_pair(b"s" * 16, "purpose")
    assert private == expand(b"s" * 16, b"fedbus key pair", b"purpose", 32)
    clamped = int.from_bytes(private, "little") & (2**254 - 8) | 2**254
    assert public == elligator.encode(elligator.ladder(clamped, 9))
    assert key_pair(b"s" * 16) == key_pair(b"s" * 16, "sealing") != key_pair(b"t" * 16)


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_both_ends_agree(one: bytes, other: bytes) -> None:
    (private, public), (private_2, public_2) = key_pair(one), key_pair(other)
    assert agree(private, public_2) == agree(private_2, public)


@pytest.mark.parametrize("point", LOW_ORDER)
@pytest.mark.parametrize("top", [0, 2**255])
def test_keys_of_low_order_are_refused(point: int, top: int) -> None:
    with pytest.raises(InvalidPoint, match="low order"):
        agree(KEY, (point + top).to_bytes(32, "little"))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_lengths_are_checked(size: int) -> None:
    with pytest.raises(InvalidPoint, match=f"{size} bytes"):
        agree(KEY, bytes(size))
    for call in (
        lambda: agree(bytes(size), KEY),
        lambda: key_pair(bytes(size)),
        lambda: seal(bytes(size), b"", b""),
        lambda: open_sealed(bytes(size), bytes(OVERHEAD_BYTES), b""),
    ):
        with pytest.raises(ValueError, match="bytes"):
            call()


def test_a_message_is_sealed_as_defined() -> None:
    plaintext, associated = b"shares", b"job/3/alice/bob"
    keys = expand(KEY, b"fedbus sealed message", associated, 64)
    nonce = hmac.digest(keys[32:], plaintext, "sha256")[:12]
    expected = nonce + ChaCha20Poly1305(keys[:32]).encrypt(nonce, plaintext, associated)
    assert seal(KEY, plaintext, associated) == expected
    assert derive(KEY, "sealed message", associated, 64) == keys


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_what_is_sealed_opens(plaintext: bytes, associated: bytes) -> None:
    sealed = seal(KEY, plaintext, associated)
    assert len(sealed) == len(plaintext) + OVERHEAD_BYTES
    assert open_sealed(KEY, sealed, associated) == plaintext


REFUSED = "changed on the way, replayed from elsewhere or made for somebody else"


def test_no_bit_can_be_changed() -> None:
    sealed = seal(KEY, b"secret", b"round 1")
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CryptoError, match=REFUSED):
            open_sealed(KEY, bytes(changed), b"round 1")


def test_no_byte_can_be_cut_or_added() -> None:
    sealed = seal(KEY, b"secret", b"round 1")
    for other in [sealed[:end] for end in range(len(sealed))] + [sealed + b"\0", b"\0" + sealed, sealed[1:]]:
        with pytest.raises(CryptoError, match=REFUSED):
            open_sealed(KEY, other, b"round 1")


@pytest.mark.parametrize(
    ("key", "associated"), [(KEY, b"round 2"), (KEY, b""), (KEY, b"round 1\0"), (bytes(32), b"round 1")]
)
def test_another_round_or_another_key_does_not_open(key: bytes, associated: bytes) -> None:
    sealed = seal(KEY, b"secret", b"round 1")
    with pytest.raises(CryptoError, match=REFUSED):
        open_sealed(key, sealed, associated)


def test_two_plaintexts_in_one_place_share_no_keystream() -> None:
    """A sender that is restarted may draw its shares anew: the difference of the plaintexts must stay hidden."""
    one, other = (seal(KEY, plaintext, b"round 1")[12:-16] for plaintext in (bytes(64), b"\xff" * 64))
    difference = bytes(a ^ b for a, b in zip(one, other, strict=True))
    assert difference != b"\xff" * 64
    assert len(set(difference)) > 32


def test_the_same_message_in_two_places_looks_unrelated() -> None:
    one, other = seal(KEY, bytes(64), b"round 1"), seal(KEY, bytes(64), b"round 2")
    assert all(one[at : at + 12] != other[at : at + 12] for at in range(0, 92, 12))
    # Sent again it is the same, so that the recipient may pass over it.
    assert seal(KEY, bytes(64), b"round 1") == one
