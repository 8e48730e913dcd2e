"""Fingerprints of keys, in digits and in words."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st
from mnemonic import Mnemonic

from fedbus.crypto import signing
from fedbus.members.keys import (
    fingerprint,
    in_groups,
    in_words,
    private_text,
    public_text,
    read_private,
    read_public,
)

KEY = st.binary(min_size=32, max_size=32)


def test_the_fingerprint_is_as_defined() -> None:
    """Two operators with two versions compare it."""
    key = signing.public_key(bytes(32))
    found = fingerprint(key)
    assert found == hashlib.sha256(b"fedbus fingerprint" + key).digest()[:16]
    assert in_groups(found).replace(" ", "") == found.hex()
    assert [len(group) for group in in_groups(found).split()] == [4] * 8


def test_words_are_those_of_the_standard() -> None:
    """From the test vectors of BIP 39 for entropy of 128 bits."""
    assert in_words(bytes(16)) == "abandon " * 11 + "about"
    assert in_words(b"\x7f" * 16) == "legal winner thank year wave sausage worth useful legal winner thank yellow"


@given(st.binary(min_size=16, max_size=16))
def test_words_say_all_of_a_fingerprint(found: bytes) -> None:
    words = in_words(found)
    assert len(words.split()) == 12
    assert len(words) <= 12 * 9
    assert bytes(Mnemonic("english").to_entropy(words)) == found


@given(KEY)
def test_keys_are_read_as_they_are_written(private: bytes) -> None:
    public = signing.public_key(private)
    assert read_public(public_text(public)) == public
    assert read_private(private_text(private)) == private
    assert read_public(private_text(private)) is None
    assert read_private(public_text(public)) is None
