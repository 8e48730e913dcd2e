"""Masks: known answers, sums from which they vanish, whoever drops out and however a vector is cut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbus.crypto.residues import FixedRing
from fedbus.crypto.secure_masks import (
    Masks,
    MaskStream,
    mask_key,
    pair_secret,
    remove_pair,
    remove_self,
    self_secret,
)
from fedbus.crypto.shares import open_all, split
from fedbus.errors import CryptoError, InvalidPoint
from places import VECTORS

CHACHA20 = json.loads((VECTORS / "chacha20.json").read_text())["keystream"]
VECTOR = json.loads((VECTORS / "secure_sum.json").read_text())
DTYPES = ["<u2", "<u4", "<u8"]
KEY = bytes(range(32))
# The words after which a block of the arithmetic begins anew, and a stream's last byte.
BLOCK = 1 << 16
STREAM_BYTES = 64 * 2**32


class Federation:
    """Parties with seeds that depend on their names, and the keys that they and the coordinator make of them."""

    def __init__(self, names: Sequence[str], label: str = "job/1/update") -> None:
        self.names = names
        self.label = label
        self.mask_seeds = {name: (b"m" + name.encode()).ljust(16) for name in names}
        self.self_seeds = {name: (b"s" + name.encode()).ljust(16) for name in names}
        self.keys = {name: mask_key(seed) for name, seed in self.mask_seeds.items()}

    def pair(self, one: str, other: str) -> bytes:
        return pair_secret(self.keys[one][0], self.keys[other][1], self.label)

    def own(self, name: str) -> bytes:
        return self_secret(self.self_seeds[name], self.label)

    def masks(self, name: str) -> Masks:
        return Masks(self.own(name), {peer: self.pair(name, peer) for peer in self.names if peer != name}, name)

    def masked(self, name: str, residues: np.ndarray, start: int = 0) -> np.ndarray:
        result = residues.copy()
        self.masks(name).apply(result, start)
        return result

    def unmask(self, total: np.ndarray, survivors: Sequence[str], start: int = 0) -> None:
        """What the coordinator does with the sum of the survivors' vectors."""
        for survivor in survivors:
            remove_self(total, self.own(survivor), start)
            for dropped in set(self.names) - set(survivors):
                remove_pair(total, self.pair(dropped, survivor), start, dropped, survivor)


def vectors(names: Sequence[str], count: int, dtype: str) -> dict[str, np.ndarray]:
    random = np.random.default_rng(7)
    top = np.iinfo(dtype).max
    return {name: random.integers(0, top, count, dtype=np.dtype(dtype), endpoint=True) for name in names}


def total_of(parts: Sequence[np.ndarray]) -> np.ndarray:
    total = np.zeros_like(parts[0])
    for part in parts:
        total += part
    return total


@pytest.mark.parametrize(("key", "block", "expected"), CHACHA20)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_stream_is_that_of_the_rfc(key: str, block: int, expected: str, dtype: str) -> None:
    size = 64 // np.dtype(dtype).itemsize
    words = MaskStream(bytes.fromhex(key)).words(block * size, size, dtype)
    assert words.dtype.str == dtype
    assert words.tobytes().hex() == expected


def test_a_secure_sum_as_computed_elsewhere() -> None:
    """Keys, masked vectors and their sum, from seeds; where they came from, the file says."""
    ring = FixedRing(VECTOR["bits"], VECTOR["fraction_bits"], 100.0)
    label, start, parties = VECTOR["label"], VECTOR["start"], VECTOR["parties"]
    private = {name: mask_key(bytes.fromhex(party["mask_seed"]))[0] for name, party in parties.items()}
    public = {name: mask_key(bytes.fromhex(party["mask_seed"]))[1] for name, party in parties.items()}
    pairs: dict[str, dict[str, bytes]] = {name: {} for name in parties}
    for one, other, secret in VECTOR["pair_secrets"]:
        pairs[one][other] = pair_secret(private[one], public[other], label)
        pairs[other][one] = pair_secret(private[other], public[one], label)
        assert pairs[one][other].hex() == pairs[other][one].hex() == secret
    total = np.zeros(len(VECTOR["sum"]), ring.dtype)
    for name, party in parties.items():
        own = self_secret(bytes.fromhex(party["self_seed"]), label)
        assert (public[name].hex(), own.hex()) == (party["mask_public"], party["self_secret"])
        residues = ring.encode(np.array(party["values"]))
        Masks(own, pairs[name], name).apply(residues, start)
        assert residues.tobytes().hex() == party["masked"]
        ring.add(total, residues)
    for party in parties.values():
        remove_self(total, bytes.fromhex(party["self_secret"]), start)
    assert total.tobytes().hex() == VECTOR["sum_residues"]
    assert ring.decode(total).tolist() == VECTOR["sum"]


@given(st.integers(0, 500), st.integers(0, 300), st.sampled_from(DTYPES))
def test_the_stream_can_be_read_at_any_place(start: int, count: int, dtype: str) -> None:
    whole = MaskStream(KEY).words(0, 800, dtype)
    assert (MaskStream(KEY).words(start, count, dtype) == whole[start : start + count]).all()


def test_words_of_all_sizes_are_cut_from_the_same_bytes() -> None:
    stream = MaskStream(KEY)
    assert len({stream.words(0, 1024 // np.dtype(dtype).itemsize, dtype).tobytes() for dtype in DTYPES}) == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_stream_ends_before_its_counter_begins_anew(dtype: str) -> None:
    stream, end = MaskStream(KEY), STREAM_BYTES // np.dtype(dtype).itemsize
    last = stream.words(end - 100, 100, dtype)
    assert len(set(last.tolist())) > 90
    assert (last[40:] == stream.words(end - 60, 60, dtype)).all()
    assert len(stream.words(end, 0, dtype)) == 0
    for start, count in [(end - 100, 101), (end, 1), (2 * end, 1), (2 * end, 0)]:
        with pytest.raises(CryptoError, match=f"a key gives {end} at most"):
            stream.words(start, count, dtype)
    with pytest.raises(CryptoError, match="at most"):
        Masks(KEY, {}, "a").apply(np.zeros(2, dtype), end - 1)


@settings(deadline=None)
@given(st.integers(2, 8), st.data())
def test_masks_vanish_from_the_sum_of_survivors(count: int, data: st.DataObject) -> None:
    federation = Federation([f"party-{number}" for number in range(count)])
    survivors = data.draw(st.lists(st.sampled_from(federation.names), min_size=1, unique=True))
    dtype, start = data.draw(st.sampled_from(DTYPES)), data.draw(st.integers(0, 1000))
    plain = vectors(federation.names, 33, dtype)
    total = total_of([federation.masked(name, plain[name], start) for name in survivors])
    federation.unmask(total, survivors, start)
    assert (total == total_of([plain[name] for name in survivors])).all()


@pytest.mark.parametrize("count", [2, 100])
def test_two_parties_and_a_hundred(count: int) -> None:
    federation = Federation([f"p{number}" for number in range(count)])
    ring = FixedRing.plan(1.0, 20, count)
    random = np.random.default_rng(3)
    values = {name: random.uniform(-1, 1, 40) for name in federation.names}
    survivors = federation.names[: max(1, count * 2 // 3)]
    total = np.zeros(40, ring.dtype)
    for name in survivors:
        ring.add(total, federation.masked(name, ring.encode(values[name], 1 / count)))
    federation.unmask(total, survivors)
    expected = sum(values[name] / count for name in survivors)
    assert np.abs(ring.decode(total) - expected).max() <= count / 2 / 2**20


def test_seeds_that_shares_open_take_the_masks_off() -> None:
    """From end to end: alice drops out, bob and carol open her mask seed and their own seeds."""
    federation = Federation(["alice", "bob", "carol"])
    plain = vectors(federation.names, 10, "<u8")
    total = total_of([federation.masked(name, plain[name]) for name in ("bob", "carol")])
    secrets = [federation.mask_seeds["alice"], federation.self_seeds["bob"], federation.self_seeds["carol"]]
    each = [split(secret, 3, 2) for secret in secrets]
    opened = open_all({holder: [shares[holder] for shares in each] for holder in (1, 2)}, 2)
    private, _ = mask_key(opened[0])
    for survivor, seed in zip(("bob", "carol"), opened[1:], strict=True):
        remove_self(total, self_secret(seed, federation.label), 0)
        key = pair_secret(private, federation.keys[survivor][1], federation.label)
        remove_pair(total, key, 0, "alice", survivor)
    assert (total == plain["bob"] + plain["carol"]).all()


def test_every_mask_left_on_hides_the_sum() -> None:
    """No mask is taken off by taking off another one, and none has no effect."""
    federation = Federation(["a", "b", "c"])
    plain = vectors(federation.names, 16, "<u4")
    expected = plain["a"] + plain["b"]
    steps: list[Any] = [
        lambda total: remove_self(total, federation.own("a"), 0),
        lambda total: remove_self(total, federation.own("b"), 0),
        lambda total: remove_pair(total, federation.pair("c", "a"), 0, "c", "a"),
        lambda total: remove_pair(total, federation.pair("c", "b"), 0, "c", "b"),
    ]
    for count in range(5):
        for chosen in combinations(steps, count):
            total = federation.masked("a", plain["a"]) + federation.masked("b", plain["b"])
            for step in chosen:
                step(total)
            assert (total == expected).sum() == (16 if count == 4 else 0)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(1, 3 * BLOCK - 1), max_size=6, unique=True),
    st.randoms(use_true_random=False),
    st.sampled_from(DTYPES),
    st.integers(0, 100),
)
def test_a_vector_may_be_cut_in_any_way(cuts: list[int], random: Any, dtype: str, start: int) -> None:
    masks = Federation(["a", "b", "c"]).masks("b")
    whole = np.zeros(3 * BLOCK, dtype)
    masks.apply(whole, start)
    ends = [0, *sorted(cuts), 3 * BLOCK]
    parts = list(pairwise(ends))
    random.shuffle(parts)
    cut = np.zeros(3 * BLOCK, dtype)
    for first, last in parts:
        masks.apply(cut[first:last], start + first)
    assert (cut == whole).all()


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_masks_are_the_streams_added_and_subtracted(count: int, dtype: str) -> None:
    keys = {"a": b"a" * 32, "c": b"c" * 32, "B": b"B" * 32}
    residues = np.full(count, np.iinfo(dtype).max, dtype)
    Masks(KEY, keys, "b").apply(residues, 3)
    own, a, c, upper = (MaskStream(key).words(3, count, dtype) for key in (KEY, keys["a"], keys["c"], keys["B"]))
    # In the order of strings, capital letters come first.
    assert (residues == own - a + c - upper - np.ones(1, dtype)).all()


def test_the_order_of_peers_does_not_matter() -> None:
    one, other = np.zeros(9, "<u4"), np.zeros(9, "<u4")
    Masks(KEY, {"a": b"a" * 32, "c": b"c" * 32}, "b").apply(one, 0)
    Masks(KEY, {"c": b"c" * 32, "a": b"a" * 32}, "b").apply(other, 0)
    assert (one == other).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("peers", [0, 1, 4])
def test_masked_residues_of_a_constant_are_uniform(dtype: str, peers: int) -> None:
    """Chi-squared over the values of each byte: 255 degrees of freedom, so 255 with a deviation of 22.6."""
    federation = Federation([f"p{number}" for number in range(peers + 1)])
    masked = federation.masked("p0", np.full(100_000, 42, dtype))
    each_byte = masked.view(np.uint8).reshape(100_000, -1)
    for column in each_byte.T:
        counts = np.bincount(column, minlength=256)
        expected = 100_000 / 256
        assert 160 < ((counts - expected) ** 2 / expected).sum() < 370


def test_labels_seeds_and_kinds_of_keys_are_unrelated() -> None:
    (private, public), (private_2, public_2) = mask_key(b"1" * 16), mask_key(b"2" * 16)
    keys = [
        pair_secret(private, public_2, "round 1"),
        pair_secret(private, public_2, "round 2"),
        pair_secret(private, public, "round 1"),
        self_secret(b"1" * 16, "round 1"),
        self_secret(b"1" * 16, "round 2"),
        self_secret(b"2" * 16, "round 1"),
        private,
        private_2,
    ]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 32 for key in keys)
    assert pair_secret(private_2, public, "round 1") == keys[0]


def test_arguments_are_checked() -> None:
    with pytest.raises(InvalidPoint):
        pair_secret(KEY, bytes(32), "label")
    for call in (mask_key, lambda seed: self_secret(seed, "label")):
        for size in (15, 17):
            with pytest.raises(ValueError, match="16 bytes"):
                call(bytes(size))
    with pytest.raises(ValueError, match="32 bytes"):
        MaskStream(bytes(31))
    with pytest.raises(ValueError, match="b has no mask in common with itself"):
        Masks(KEY, {"a": KEY, "b": KEY}, "b")
    with pytest.raises(ValueError, match="a has no mask in common with itself"):
        remove_pair(np.zeros(2, "<u4"), KEY, 0, "a", "a")
    for start, count in [(-1, 2), (0, -1)]:
        with pytest.raises(ValueError, match="in no stream"):
            MaskStream(KEY).words(start, count, "<u4")
    for dtype in ("<i4", ">u4", "<f4", "u1"):
        with pytest.raises(ValueError, match="little-endian unsigned"):
            remove_self(np.zeros(2, dtype), KEY, 0)
    with pytest.raises(ValueError, match="one dimension"):
        remove_self(np.zeros((2, 2), "<u4"), KEY, 0)
    with pytest.raises(ValueError, match="read-only"):
        remove_self(MaskStream(KEY).words(0, 4, "<u4"), KEY, 0)
