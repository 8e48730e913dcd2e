"""The length of a vector, the pieces in which it travels, and the ciphertexts that it takes."""

from __future__ import annotations

from fedbus.algorithms.sums.layout import SumLayout, block_ranges
from fedbus.chunks import CHUNK_BYTES
from fedbus.crypto.residues import FixedRing


def test_metrics_follow_the_entries_in_ten_limbs_each() -> None:
    assert SumLayout("train", 5, 4, FixedRing(32, 20, 8.0)).length == 5 + 4 * 10


def test_pieces_hold_whole_entries_and_all_of_them() -> None:
    for bits, width in ((32, 4), (64, 8)):
        layout = SumLayout("train", 700_000, 1, FixedRing(bits, 20, 8.0))
        spans = layout.spans
        assert [start for start, _ in spans] == [0, *(stop for _, stop in spans[:-1])]
        assert spans[-1][1] == layout.length
        assert all((stop - start) * width <= CHUNK_BYTES for start, stop in spans)


def test_ciphertexts_hold_as_many_entries_as_fit_the_key() -> None:
    layout = SumLayout("train", 1000, 0, FixedRing(32, 20, 8.0))
    for key_bits in (512, 2048):
        slots = layout.slots(key_bits)
        numbers = [(-1) ** place * (2**31 - 1) for place in range(1000)]
        packed = [pack for (pack,) in slots.pack([numbers])]
        assert len(packed) == layout.ciphertexts(key_bits)
        assert slots.unpack(packed, 1000) == numbers
        # A slot has room for an entry, and none is wasted.
        assert key_bits // 33 - 2 <= 1000 / layout.ciphertexts(key_bits) <= key_bits / 32


def test_blocks_cover_a_range() -> None:
    assert block_ranges(3, 3) == []
    assert block_ranges(10, 70_000) == [(10, 32_778), (32_778, 65_546), (65_546, 70_000)]
