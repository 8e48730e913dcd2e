"""The error of a model on the rows, of which the coordinator learns the sum of (sum over parties of o)^2 and no more.

With o a party's part of each row's score, at the guest less the label, the sum is that of each party's own squares and
twice the products of every two parties:

    1. E -> M              [[o_E]], several rows in the slots of a plaintext
    2. M                   for each slot l, the sum over plaintexts of [[o_E]] times M's l-th row of each: in slot l of
                           it are products of equal rows
    3. M -> coordinator    the same, every slot masked
    4. host -> guest       [[sum o^2 - 2 (masks of equal rows)]], at the guest added up and sent to the coordinator

The coordinator opens 3 and 4: twice the masked products of equal rows and the sum of 4 are the sum of squares. All else
in 3 is masked too, within 2^-40 of independent of the scores. A row costs a part of an encryption and one
multiplication.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from fedbus.algorithms.linear.layout import Layout, Pair
from fedbus.algorithms.linear.messages import MaskedProducts, PackedScores
from fedbus.algorithms.vertical.messages import EncryptedLoss, LossShare
from fedbus.crypto import fixedpoint
from fedbus.crypto.tensor import CipherTensor
from fedbus.errors import FixedPointOverflow, JobFailed
from fedbus.session.vectors import Vectors


def measure(vectors: Vectors, layout: Layout, scores: np.ndarray, bits: int) -> None:
    """Play a party's part in measuring the error.

    Args:
        scores: (rows,) o, in the label's unit.
        bits: fraction bits that they are to have.

    Raises:
        JobFailed: a score is beyond what the fixed point holds.
    """
    session, key, engine = vectors.session, vectors.key, vectors.engine
    pairs, slots, guest = layout.of(session.party), layout.score_slots, session.spec.guest_party
    table = _table(layout, scores, bits)
    with session.phase("forward"):
        multipliers = tuple(pair.multiplier for _, pair in pairs if pair.encryptor == session.party)
        if multipliers:
            (packed,) = slots.pack(table)
            ranges = vectors.ranges(len(packed))
            parts = (engine.encrypt(key, packed[start:stop], bits) for start, stop in ranges)
            vectors.send(multipliers, PackedScores, len(packed), parts)
    masks = 0
    with session.phase("loss"):
        for number, pair in pairs:
            if pair.multiplier == session.party:
                masks += _multiply(vectors, layout, number, pair, table, bits)
        own = _squares(table) - 2 * masks
        if session.party != guest:
            vectors.send(guest, LossShare, 1, [engine.encrypt(key, [own], 2 * bits)])
            return
        shares = [vectors.recv_all(host, LossShare, 1, 2 * bits) for host in session.spec.host_parties]
        total = engine.add_plain_obfuscated(key, reduce(key.add, shares), [own])
        vectors.send(session.coordinator, EncryptedLoss, 1, [total])


def _table(layout: Layout, scores: np.ndarray, bits: int) -> np.ndarray:
    """Scores as integers, as many in a row as a plaintext holds; the last row is filled up with zeros."""
    try:
        encoded = fixedpoint.encode(scores, bits)
    except FixedPointOverflow as error:
        raise JobFailed(
            f"a party's part of a score is beyond {2.0 ** (fixedpoint.MAX_BITS - bits):.1g} deviations of the "
            "label: columns of different parties say nearly the same, and their weights make up for each other; set "
            "params.l2, or leave one of these columns out"
        ) from error
    padded = np.zeros(layout.score_rows * layout.score_slots.count, dtype=np.int64)
    padded[: len(encoded)] = encoded
    return padded.reshape(layout.score_rows, layout.score_slots.count)


def _multiply(vectors: Vectors, layout: Layout, number: int, pair: Pair, table: np.ndarray, bits: int) -> int:
    """Steps 2 and 3; returns the sum of the masks of equal rows."""
    session, slots, count = vectors.session, layout.score_slots, layout.score_slots.count
    scores = vectors.recv_all(pair.encryptor, PackedScores, layout.score_rows, bits)
    products = vectors.engine.matvec(vectors.key, table, scores, bits)
    with session.batch(1 + number):
        drawn = session.random("scores").residues(1 << layout.score_mask_bits, count**2)
        # Never negative, so that no slot borrows from its neighbour.
        masks = [[(1 << layout.score_product_bits) + mask for mask in drawn[at : at + count]] for at in _starts(count)]
        (packed,) = slots.pack(masks)
        masked: CipherTensor = vectors.engine.add_plain_obfuscated(vectors.key, products, packed)
        vectors.send(session.coordinator, MaskedProducts, count, vectors.split(masked))
    return sum(masks[slot][slot] for slot in range(count))


def _starts(count: int) -> range:
    return range(0, count**2, count)


def _squares(table: np.ndarray) -> int:
    # Python integers: squares of 62-bit numbers do not fit 64 bits.
    return sum(value * value for value in table.ravel().tolist())
