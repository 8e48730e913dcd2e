"""All participants of a job with solver `gram` agree on this: precision, slots, and which of two parties encrypts.

Every party computes it from what is public, so that nothing of it travels. The protocol is in parties/linear/gram.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil, log2

from fedbus.algorithms.linear.spec import LinearJob
from fedbus.algorithms.vertical.agreed import ALIGNMENT_ROUND, LABEL_BITS
from fedbus.crypto.fixedpoint import MAX_BITS
from fedbus.crypto.packing import Slots

# The round of a session in which the parties first pass over the rows; rounds of training follow.
PASS_ROUND = ALIGNMENT_ROUND + 1
# Fraction bits of sums that the coordinator learns: a curvature may be 2**-150 of the label's square.
SCALAR_BITS = 200
# Fraction bits of search directions, which are in units of a power of two no less than their norm: the second where
# columns have as many bits as they may, for the weights of columns that hardly differ are large.
DIRECTION_BITS = 43, 52
_FINE_BITS = 34
# Fraction bits of the scores whose error is measured, in the label's unit: fewer where weights are large, as those of
# columns are that make up for each other.
_SCORE_BITS, _LEAST_SCORE_BITS = 32, 12
# Of the bits of a score at least so many are above the norm of the weights.
_SCORE_RANGE_BITS = 5
# All masked blocks of a job together are within 2**-MASK_BITS of what they would be over any other data.
MASK_BITS = 40
# Rounding a column moves an entry of the Gram matrix by about 2**-(bits) / sqrt(rows): precision that rows make up for.
# So small, it hides no direction that a label depends on where the parties' columns have a condition below 2**30.
_ENTRY_BITS = 33
_LEAST_BITS = 20


@dataclass(frozen=True, slots=True)
class Pair:
    """Two parties whose columns are multiplied.

    Attributes:
        encryptor: encrypts its columns, row by row.
        multiplier: multiplies them by its own.
        sent, taken: columns of the two, with the label where one is the guest.
        label_sent, label_taken: whether the label is the last of them.
    """

    encryptor: str
    multiplier: str
    sent: int
    taken: int
    label_sent: bool
    label_taken: bool

    @property
    def own_sent(self) -> int:
        """The number of the encryptor's columns without the label."""
        return self.sent - self.label_sent

    @property
    def own_taken(self) -> int:
        """The number of the multiplier's columns without the label."""
        return self.taken - self.label_taken


@dataclass(frozen=True, slots=True)
class Layout:
    """The precision, the slots and the pairs of one job; see the module.

    Attributes:
        bits: fraction bits of columns and label.
        product_bits: a sum of products of two columns over all rows is of a magnitude below 2**product_bits.
        mask_bits: a mask is uniform over 2**mask_bits values.
        direction_bits: fraction bits of directions.
        slots: of columns in a plaintext.
        score_product_bits, score_mask_bits, score_slots: the same of scores.
        pairs: in the order in which their blocks are exchanged.
        least_norm: whether columns are multiplied as they are, standardised: there are as many weights as rows or more,
            and of all that fit the rows the parties look for the least.
    """

    rows: int
    bits: int
    product_bits: int
    mask_bits: int
    direction_bits: int
    slots: Slots
    score_product_bits: int
    score_mask_bits: int
    score_slots: Slots
    columns: Mapping[str, int]
    pairs: tuple[Pair, ...]
    least_norm: bool

    @property
    def sum_bits(self) -> int:
        """The fraction bits of a cross product."""
        return 2 * self.bits

    @property
    def gradient_bits(self) -> int:
        """The fraction bits of a cross product with a direction."""
        return self.sum_bits + self.direction_bits

    @property
    def score_rows(self) -> int:
        """The number of ciphertexts that hold a party's scores."""
        return self.score_slots.packs(self.rows)

    def of(self, party: str) -> list[tuple[int, Pair]]:
        """Return the pairs that a party is in, with their numbers."""
        return [(number, pair) for number, pair in enumerate(self.pairs) if party in (pair.encryptor, pair.multiplier)]


def lay_out(spec: LinearJob, rows: int, columns: Mapping[str, int], bits: int | None = None) -> Layout:
    """Work out what follows from a job and its sizes.

    Args:
        columns: that each party trains, the guest's with the intercept.
        bits: fraction bits of columns in a second pass; None is what the job says.

    Raises:
        CryptoError: the key is too short for one slot.
    """
    chosen = spec.params.feature_bits
    if bits is None:
        bits = max(_LEAST_BITS, _ENTRY_BITS - int(log2(rows)) // 2) if chosen is None else chosen
    direction_bits = DIRECTION_BITS[bits >= _FINE_BITS]
    # Cauchy and Schwarz: standardised columns have the norm sqrt(rows); one bit more is room for rounding.
    product_bits = 2 * bits + ceil(log2(rows)) + 1
    weights = sum(columns.values())
    mask_bits = product_bits + 1 + MASK_BITS + ceil(log2((weights + 1) ** 2))
    round_bits = product_bits + direction_bits + ceil(log2(max(columns.values()) + 1)) + 1
    slots = Slots.fit(max(mask_bits, round_bits) + 2, spec.params.key_bits)
    # Whatever the slots: no more rows than there are lie in one, and no more slots in a plaintext than fit its bits.
    score_product_bits = 2 * MAX_BITS + ceil(log2(rows)) + 1
    blocks = len(spec.parties) ** 2 * (spec.params.key_bits // score_product_bits + 1) ** 2
    score_mask_bits = score_product_bits + 1 + MASK_BITS + ceil(log2(blocks))
    score_slots = Slots.fit(score_mask_bits + 2, spec.params.key_bits)
    return Layout(
        rows=rows,
        bits=bits,
        product_bits=product_bits,
        mask_bits=mask_bits,
        direction_bits=direction_bits,
        slots=slots,
        score_product_bits=score_product_bits,
        score_mask_bits=score_mask_bits,
        score_slots=score_slots,
        columns=dict(columns),
        pairs=tuple(_pair(spec, slots, bits, columns, one, other) for one, other in combinations(spec.parties, 2)),
        least_norm=not spec.params.l2 and weights >= rows,
    )


def measured_bits(exponent: int, rows: int) -> int:
    """Return the fraction bits of the scores whose error is measured, for weights of a norm below 2**exponent."""
    # A column may have all of its norm, sqrt(rows), in one row.
    above = max(_SCORE_RANGE_BITS, ceil(log2(rows) / 2))
    return max(_LEAST_SCORE_BITS, min(_SCORE_BITS, MAX_BITS - above - exponent))


def label_unit(score_bits: int) -> float:
    """Return what labels are divided by: a power of two, no less than their deviation, by which scores' bits were
    chosen.
    """
    return 2.0 ** (LABEL_BITS - score_bits)


def arrange(layout: Layout, pair: Pair, block: Sequence[Sequence[int]]) -> tuple[list[list[int]], list[list[int]]]:
    """Pack a block of cross products as either party multiplies it.

    Args:
        block: (taken, sent) integers.

    Returns:
        For the multiplier a plaintext for each of its columns and its label, in packs of the encryptor's columns; for
        the encryptor one for each of its columns and its label, in packs of the multiplier's columns. The label is
        never within a pack: nobody is to learn a product with it beyond its own right-hand side.
    """
    by_row = layout.slots.pack([row[: pair.own_sent] for row in block])
    by_column = layout.slots.pack(list(zip(*block[: pair.own_taken], strict=True)))
    return by_row, by_column


def _pair(spec: LinearJob, slots: Slots, bits: int, columns: Mapping[str, int], one: str, other: str) -> Pair:
    size = {party: columns[party] + (party == spec.guest.party) for party in (one, other)}

    def cost(encryptor: str, multiplier: str) -> float:
        # In modular multiplications: an obfuscator is one a byte of its exponent, of half the key's length; a cell is
        # one for each seven bits or so.
        obfuscator, cell = spec.params.key_bits / 16, (bits + 3) / 7
        return slots.packs(size[encryptor]) * (obfuscator + size[multiplier] * cell)

    first, second = (one, other) if cost(one, other) <= cost(other, one) else (other, one)
    guest = spec.guest.party
    return Pair(first, second, size[first], size[second], first == guest, second == guest)
