"""How a vector that is to be summed is laid out, entries first and then metrics, and in what pieces it travels."""

from __future__ import annotations

from dataclasses import dataclass

from fedbus.algorithms.sums import limbs
from fedbus.chunks import chunk_ranges
from fedbus.crypto.packing import Slots
from fedbus.crypto.residues import FixedRing

# Entries that are computed with at a time, in numbers of 64 bits that stay in the processor's cache.
_BLOCK = 32_768


@dataclass(frozen=True, slots=True)
class SumLayout:
    """The layout of the vectors of one sum, and of the sum itself.

    Attributes:
        task: what is summed, as the algorithm calls it.
        numbers: how many entries come first, in fixed point or as the algorithm encodes them.
        metrics: how many numbers follow them in limbs of fedbus/algorithms/sums/limbs.py.
        ring: of all entries.
    """

    task: str
    numbers: int
    metrics: int
    ring: FixedRing

    @property
    def length(self) -> int:
        """Entries of the whole vector."""
        return self.numbers + self.metrics * limbs.LIMBS

    @property
    def spans(self) -> list[tuple[int, int]]:
        """The messages of a vector as (start, stop)."""
        return chunk_ranges(self.length, self.ring.dtype.itemsize)

    def slots(self, key_bits: int) -> Slots:
        """How a vector lies in Paillier plaintexts: no sum over the parties leaves its slot.

        The ring bounds the sum of all parties' entries already; here they are added as integers, not modulo 2^k.
        """
        return Slots.fit(self.ring.bits, key_bits)

    def ciphertexts(self, key_bits: int) -> int:
        """How many a vector takes under a key of so many bits."""
        return self.slots(key_bits).packs(self.length)


def block_ranges(start: int, stop: int) -> list[tuple[int, int]]:
    """The entries `start` to `stop` in blocks for arithmetic, as (start, stop)."""
    return [(first, min(first + _BLOCK, stop)) for first in range(start, stop, _BLOCK)]
