"""The encrypted pass of solver `gram`, which computes the cross products of two parties' columns under C's key.

The steps are those of parties/linear/gram.py, whose docstring holds the protocol.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fedbus.algorithms.linear.layout import Layout, Pair, arrange
from fedbus.algorithms.linear.messages import Block, BlockColumns, BlockRows, MaskedBlock, PackedRows, RightSide
from fedbus.crypto.tensor import CipherTensor
from fedbus.session.vectors import Vectors

# Rows that a multiplication takes at once: so many that the buckets' own cost does not count.
_BATCH_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class Crossed:
    """The products of a party's columns with those of others, as the party has them.

    Attributes:
        blocks: of each other party, [[X_own^T X_other]] with its columns packed: a vector of own columns for each pack.
        right: [[X_own^T y]], packed, at a host; None at the guest.
    """

    blocks: dict[str, list[CipherTensor]]
    right: CipherTensor | None


def cross(vectors: Vectors, layout: Layout, matrix: np.ndarray) -> Crossed:
    """Play a party's part of the pass, steps 1 to 5.

    Args:
        matrix: (rows, columns) fixed-point integers of its columns, at the guest with the label as the last one.
    """
    session, party = vectors.session, vectors.session.party
    pairs = layout.of(party)
    totals: dict[int, list[CipherTensor]] = {}
    with session.phase("encrypt"):
        multipliers = tuple(pair.multiplier for _, pair in pairs if pair.encryptor == party)
        if multipliers:
            _send_rows(vectors, layout, matrix, multipliers)
    with session.phase("multiply"):
        for number, pair in pairs:
            if pair.multiplier == party:
                totals[number] = _multiply(vectors, layout, pair, matrix)
    blocks: dict[str, list[CipherTensor]] = {}
    right = None
    with session.phase("unpack"):
        for number, pair in pairs:
            with session.batch(1 + number):
                if pair.multiplier == party:
                    blocks[pair.encryptor], rest = _unpack(vectors, layout, pair, totals[number])
                else:
                    blocks[pair.multiplier], rest = _take(vectors, layout, pair)
            right = right or rest
    return Crossed(blocks, right)


def _send_rows(vectors: Vectors, layout: Layout, matrix: np.ndarray, to: tuple[str, ...]) -> None:
    """Step 1, row after row, a row's packs side by side."""
    packed = layout.slots.pack(matrix)
    plaintexts = [plaintext for row in zip(*packed, strict=True) for plaintext in row]
    parts = (
        vectors.engine.encrypt(vectors.key, plaintexts[start:stop], layout.bits)
        for start, stop in vectors.ranges(len(plaintexts))
    )
    vectors.send(to, PackedRows, len(plaintexts), parts)


def _multiply(vectors: Vectors, layout: Layout, pair: Pair, matrix: np.ndarray) -> list[CipherTensor]:
    """Step 2: for each pack of the other's columns, its products with each of this party's."""
    packs = layout.slots.packs(pair.sent)
    totals: list[CipherTensor] = []
    row = 0
    for part in _batches(vectors, layout, pair, packs):
        rows = len(part) // packs
        own = matrix[row : row + rows]
        products = [
            vectors.engine.matvec(vectors.key, own, part.every(packs, pack), layout.bits) for pack in range(packs)
        ]
        totals = [vectors.key.add(*two) for two in zip(totals, products, strict=True)] if totals else products
        row += rows
    return totals


def _batches(vectors: Vectors, layout: Layout, pair: Pair, packs: int) -> Iterator[CipherTensor]:
    """The rows that arrive, whole and enough of them at a time."""
    waiting: list[CipherTensor] = []
    for part in vectors.recv(pair.encryptor, PackedRows, layout.rows * packs, layout.bits):
        waiting.append(part)
        count = sum(map(len, waiting))
        if count >= _BATCH_ROWS * packs:
            joined, whole = CipherTensor.join(waiting), count - count % packs
            yield joined.part(0, whole)
            waiting = [joined.part(whole, count)] if whole < count else []
    if waiting:
        yield CipherTensor.join(waiting)


def _unpack(
    vectors: Vectors, layout: Layout, pair: Pair, totals: list[CipherTensor]
) -> tuple[list[CipherTensor], CipherTensor | None]:
    """Steps 3 to 5 of the multiplier: the coordinator cuts the masked block up, this party takes off the masks."""
    key, session, slots, scale = vectors.key, vectors.session, layout.slots, layout.sum_bits
    stream, least = session.random("block"), 1 << layout.product_bits
    drawn = stream.residues(1 << layout.mask_bits, pair.taken * pair.sent)
    masks = [[least + mask for mask in drawn[start : start + pair.sent]] for start in range(0, len(drawn), pair.sent)]
    masked = (
        vectors.engine.add_plain_obfuscated(key, total, mask)
        for total, mask in zip(totals, slots.pack(masks), strict=True)
    )
    _send_all(vectors, session.coordinator, MaskedBlock, CipherTensor.join(masked))

    by_row, by_column = arrange(layout, pair, masks)
    rows = _recv_packs(vectors, session.coordinator, BlockRows, pair.taken, len(by_row), scale)
    columns = _recv_packs(vectors, session.coordinator, BlockColumns, pair.sent, len(by_column), scale)
    rows = [key.add_plain(t, [-mask for mask in pack]) for t, pack in zip(rows, by_row, strict=True)]
    # Obfuscated anew: what leaves must not be what the coordinator made and could recognise.
    columns = [
        vectors.engine.add_plain_obfuscated(key, t, [-mask for mask in pack])
        for t, pack in zip(columns, by_column, strict=True)
    ]
    _send_all(vectors, pair.encryptor, Block, CipherTensor.join(t.part(0, pair.own_sent) for t in columns))
    right = None
    if pair.label_taken:
        of_label = CipherTensor.join(t.part(pair.own_taken, pair.taken) for t in rows)
        _send_all(vectors, pair.encryptor, RightSide, vectors.engine.obfuscate(key, of_label))
    elif pair.label_sent:
        right = CipherTensor.join(t.part(pair.own_sent, pair.sent) for t in columns)
    return [t.part(0, pair.own_taken) for t in rows], right


def _take(vectors: Vectors, layout: Layout, pair: Pair) -> tuple[list[CipherTensor], CipherTensor | None]:
    """Step 5 of the encryptor."""
    packs = layout.slots.packs(pair.own_taken)
    blocks = _recv_packs(vectors, pair.multiplier, Block, pair.own_sent, packs, layout.sum_bits)
    right = None
    if pair.label_taken:
        right = vectors.recv_all(pair.multiplier, RightSide, layout.slots.packs(pair.own_sent), layout.sum_bits)
    return blocks, right


def _recv_packs(vectors: Vectors, sender: str, kind: type, rows: int, packs: int, scale: int) -> list[CipherTensor]:
    whole = vectors.recv_all(sender, kind, rows * packs, scale)
    return [whole.part(pack * rows, (pack + 1) * rows) for pack in range(packs)]


def _send_all(vectors: Vectors, to: str, kind: type, tensor: CipherTensor) -> None:
    vectors.send(to, kind, len(tensor), vectors.split(tensor))
