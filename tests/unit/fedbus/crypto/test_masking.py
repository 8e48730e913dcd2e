"""Secret streams: known answers, the same values again, and no bias."""

from __future__ import annotations

import hmac

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from hypothesis import given
from hypothesis import strategies as st

from fedbus.crypto.curve import ORDER
from fedbus.crypto.masking import SecretStream, unmask
from places import vectors

VECTORS = vectors("secret_stream.json")
SECRET = bytes(range(32))


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["label"] or "no label")
def test_known_answers(case: dict[str, str]) -> None:
    stream = SecretStream(bytes.fromhex(VECTORS["secret"]), case["label"])
    assert (stream.read(1) + stream.read(99) + stream.read(0) + stream.read(50)).hex() == case["stream"]


def definition(label: str, count: int) -> bytes:
    """The stream by its definition: HKDF by hmac (RFC 5869), then ChaCha20 over zeros."""
    pseudorandom = hmac.digest(b"fedbus secret stream", SECRET, "sha256")
    key = hmac.digest(pseudorandom, label.encode() + b"\1", "sha256")
    return Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(count))


def test_the_stream_is_the_one_defined() -> None:
    assert SecretStream(SECRET, "job/Zoë").read(1000) == definition("job/Zoë", 1000)


@pytest.mark.parametrize("modulus", [5, 256, 1000, 2**64 + 1, ORDER - 1])
def test_residues_are_cut_from_the_stream_as_defined(modulus: int) -> None:
    """The top bits of as many bytes as a residue needs, big-endian; what is not below the modulus is passed over.

    A process that resumes a job with another definition would not know the masks it had sent.
    """
    bits = (modulus - 1).bit_length()
    width = -(-bits // 8)
    data = definition("residues", 200 * width)
    cut = [int.from_bytes(data[at : at + width], "big") >> (8 * width - bits) for at in range(0, len(data), width)]
    expected = [value for value in cut if value < modulus]
    assert SecretStream(SECRET, "residues").residues(modulus, len(expected)) == expected


def test_orders_and_exponents_are_cut_from_the_stream_as_defined() -> None:
    data = definition("order", 50 * 16 + 50 * 32)
    stream = SecretStream(SECRET, "order")
    keys = [data[at : at + 16] for at in range(0, 50 * 16, 16)]
    assert stream.permutation(50).tolist() == sorted(range(50), key=keys.__getitem__)
    # 253 bits of 256, of which nearly half are not below the order and passed over.
    candidates = [int.from_bytes(data[at : at + 32], "big") >> 3 for at in range(50 * 16, len(data), 32)]
    assert int.from_bytes(stream.scalar(), "little") == next(c for c in candidates if c < ORDER - 1) + 1


def draw(stream: SecretStream) -> tuple[object, ...]:
    return stream.residues(10**30, 5), stream.permutation(20).tolist(), stream.scalar(), stream.read(7)


def test_a_restarted_process_draws_the_same() -> None:
    assert draw(SecretStream(SECRET, "a")) == draw(SecretStream(SECRET, "a"))


def test_labels_and_secrets_give_unrelated_values() -> None:
    reference = draw(SecretStream(SECRET, "a"))
    for stream in (SecretStream(SECRET, "b"), SecretStream(bytes(32), "a")):
        assert all(mine != other for mine, other in zip(reference, draw(stream), strict=True))


def test_short_secrets_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes"):
        SecretStream(bytes(15), "a")


@pytest.mark.parametrize("modulus", [1, 2, 255, 256, 257, 2**64, 3 * 2**62 + 1])
def test_residues_are_below_the_modulus_and_reach_its_ends(modulus: int) -> None:
    drawn = SecretStream(SECRET, str(modulus)).residues(modulus, 4000)
    assert len(drawn) == 4000
    assert all(0 <= value < modulus for value in drawn)
    assert min(drawn) <= modulus / 500
    assert max(drawn) >= (modulus - 1) * 499 / 500


def test_residues_are_uniform() -> None:
    """Chi-squared over 6 classes; reducing 3 bits modulo 6 would give 0 and 1 twice the weight of the others."""
    counts = np.bincount(SecretStream(SECRET, "six").residues(6, 60_000), minlength=6)
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 25


def test_a_modulus_is_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        SecretStream(SECRET, "a").residues(0, 1)


def test_permutations_are_uniform() -> None:
    stream = SecretStream(SECRET, "orders")
    orders = [tuple(stream.permutation(4).tolist()) for _ in range(12_000)]
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 24
    assert sum((count - 500) ** 2 / 500 for count in counts) < 60
    assert stream.permutation(0).tolist() == []


def test_exponents_are_those_of_the_group() -> None:
    stream = SecretStream(SECRET, "scalar")
    values = [int.from_bytes(stream.scalar(), "little") for _ in range(200)]
    assert all(0 < value < ORDER for value in values)
    assert len(set(values)) == 200
    # Uniform below 2**252 and a little: clamping, as X25519 does, would fix the low bits.
    assert {value % 8 for value in values} == set(range(8))


@given(st.lists(st.integers(-500, 500), max_size=5), st.integers(0, 100))
def test_masks_come_off(values: list[int], label: int) -> None:
    modulus = 1001
    masks = SecretStream(SECRET, str(label)).residues(modulus, len(values))
    masked = [(value + mask) % modulus for value, mask in zip(values, masks, strict=True)]
    assert unmask(masked, masks, modulus) == values


def test_masks_of_another_number_are_refused() -> None:
    with pytest.raises(ValueError, match="argument 2"):
        unmask([1, 2], [1], 7)
