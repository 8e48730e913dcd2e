"""Secret streams: known answers, the same values again, and no bias."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbus.crypto.curve import ORDER
from fedbus.crypto.masking import SecretStream, unmask

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "secret_stream.json").read_text())
SECRET = bytes(range(32))


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["label"] or "no label")
def test_known_answers(case: dict[str, str]) -> None:
    stream = SecretStream(bytes.fromhex(VECTORS["secret"]), case["label"])
    assert (stream.read(1) + stream.read(99) + stream.read(0) + stream.read(50)).hex() == case["stream"]


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
