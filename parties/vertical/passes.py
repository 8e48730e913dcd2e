"""An encrypted pass over rows sends scores to the guest and residuals back, and multiplies them by both sides' columns.

The steps are those of parties/linear/sgd.py, whose docstring holds the protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce

import numpy as np

from fedbus.algorithms.vertical.messages import EncryptedLoss, Forward, LossShare, MaskedScores, Residual
from fedbus.crypto import fixedpoint
from fedbus.crypto.tensor import CipherTensor
from fedbus.errors import FixedPointOverflow, JobFailed
from fedbus.session.vectors import Vectors


def host_pass(vectors: Vectors, scores: np.ndarray, matrix: np.ndarray | None, penalty: float) -> CipherTensor | None:
    """Do a host's steps 2 and 3 on `scores`, its u_A of shape (rows,).

    Args:
        matrix: (rows, columns) fixed-point features; None where only the loss is wanted.
        penalty: its ridge term, in the unit of the sum of squares.

    Returns:
        [[X_A^T d]], not obfuscated; None without a matrix.
    """
    session, encoded = vectors.session, send_scores(vectors, scores)
    several = len(session.spec.hosts) > 1
    if not several:
        _send_loss_share(vectors, None, _dot(encoded, encoded) + _integer(vectors, penalty))
        if matrix is None:
            return None
    gradient, products = [], []
    with session.phase("residual"):
        for start, stop, part in _parts(vectors, session.spec.guest_party, Residual, len(scores)):
            if matrix is not None:
                gradient.append(_product(vectors, matrix[start:stop], part))
            if several:
                products.append(_product(vectors, encoded[start:stop, None], part, vectors.score_bits))
    if several:
        _send_loss_share(vectors, _total(vectors, products), _integer(vectors, penalty))
    return _total(vectors, gradient) if gradient else None


def guest_pass(vectors: Vectors, offsets: np.ndarray, matrix: np.ndarray | None, penalty: float) -> CipherTensor | None:
    """Do the guest's steps 3 and 4 without the gradient's mask; `offsets` is u_B - y of shape (rows,).

    Args, Returns: as `host_pass`.
    """
    session, encoded = vectors.session, _encode(vectors, offsets)
    hosts = session.spec.host_parties
    several = len(hosts) > 1
    gradient, cross = [], []

    def residuals() -> Iterator[CipherTensor]:
        for start, stop, scores in _sums(vectors, len(offsets)):
            part = vectors.engine.add_plain_obfuscated(vectors.key, scores, encoded[start:stop])
            yield part
            if matrix is not None:
                gradient.append(_product(vectors, matrix[start:stop], part))
            cross.append(_product(vectors, encoded[start:stop, None], scores, vectors.score_bits))

    with session.phase("residual"):
        if matrix is not None or several:
            vectors.send(hosts, Residual, len(offsets), residuals())
        else:
            for start, stop, scores in _sums(vectors, len(offsets)):
                cross.append(_product(vectors, encoded[start:stop, None], scores, vectors.score_bits))
    with session.phase("loss"):
        shares = [vectors.recv_all(host, LossShare, 1, vectors.loss_bits) for host in hosts]
        crosses = cross if several else [*cross, *cross]
        plain = _dot(encoded, encoded) + _integer(vectors, penalty)
        loss = vectors.engine.add_plain_obfuscated(vectors.key, _total(vectors, [*shares, *crosses]), [plain])
        vectors.send(session.coordinator, EncryptedLoss, 1, [loss])
    return _total(vectors, gradient) if gradient else None


def send_scores(vectors: Vectors, scores: np.ndarray, *, held_out: bool = False) -> np.ndarray:
    """Do a host's step 2: send [[u_A]] to the guest. Return u_A in fixed point.

    Raises:
        JobFailed: a score is too large; the text says what to do, which differs for held-out rows.
    """
    with vectors.session.phase("forward"):
        encoded = _encode(vectors, scores, held_out=held_out)
        ranges = vectors.ranges(len(scores))
        parts = (vectors.engine.encrypt(vectors.key, encoded[start:stop], vectors.score_bits) for start, stop in ranges)
        vectors.send(vectors.session.spec.guest_party, Forward, len(scores), parts)
    return encoded


def open_scores(vectors: Vectors, offsets: np.ndarray) -> np.ndarray:
    """Return the guest's prediction: the sum of all parties' scores, (rows,), decrypted behind a mask.

    Args:
        offsets: u_B, the guest's own scores.
    """
    encoded = _encode(vectors, offsets, held_out=True)
    parts = (vectors.key.add_plain(scores, encoded[start:stop]) for start, stop, scores in _sums(vectors, len(offsets)))
    with vectors.session.phase("predict"):
        return fixedpoint.decode(vectors.open(MaskedScores, len(offsets), parts), vectors.score_bits)


def _encode(vectors: Vectors, scores: np.ndarray, *, held_out: bool = False) -> np.ndarray:
    """Scores in fixed point; JobFailed with the remedy where they do not fit."""
    try:
        return fixedpoint.encode(scores, vectors.score_bits)
    except FixedPointOverflow as error:
        largest = f"{2.0 ** (fixedpoint.MAX_BITS - vectors.score_bits):.3g}, a million times the label's usual size"
        if held_out:
            raise JobFailed(
                f"the predicted score of a held-out row is beyond {largest}: its columns lie far outside those of the"
                " training rows; check the held-out rows, or leave out `test`"
            ) from error
        remedy = vectors.session.spec.against_divergence
        raise JobFailed(f"training diverged: a score is beyond {largest}; {remedy}") from error


def _sums(vectors: Vectors, rows: int) -> Iterator[tuple[int, int, CipherTensor]]:
    """The sum of all hosts' scores, a part at a time."""
    streams = [_parts(vectors, host, Forward, rows) for host in vectors.session.spec.host_parties]
    for parts in zip(*streams, strict=True):
        start, stop, _ = parts[0]
        yield start, stop, _total(vectors, [part for _, _, part in parts])


def _parts(vectors: Vectors, sender: str, kind: type, rows: int) -> Iterator[tuple[int, int, CipherTensor]]:
    for (start, stop), part in zip(
        vectors.ranges(rows), vectors.recv(sender, kind, rows, vectors.score_bits), strict=True
    ):
        yield start, stop, part


def _product(vectors: Vectors, matrix: np.ndarray, part: CipherTensor, bits: int | None = None) -> CipherTensor:
    bits = vectors.session.spec.column_bits if bits is None else bits
    return vectors.engine.matvec(vectors.key, matrix, part, bits)


def _total(vectors: Vectors, tensors: Iterable[CipherTensor]) -> CipherTensor:
    return reduce(vectors.key.add, tensors)


def _send_loss_share(vectors: Vectors, encrypted: CipherTensor | None, plain: int) -> None:
    key, engine = vectors.key, vectors.engine
    if encrypted is None:
        share = engine.encrypt(key, [plain], vectors.loss_bits)
    else:
        share = engine.add_plain_obfuscated(key, encrypted, [plain])
    vectors.send(vectors.session.spec.guest_party, LossShare, 1, [share])


def _dot(left: np.ndarray, right: np.ndarray) -> int:
    # Python integers: squares of 40-bit fractions do not fit 64 bits.
    return sum(a * b for a, b in zip(left.tolist(), right.tolist(), strict=True))


def _integer(vectors: Vectors, value: float) -> int:
    return round(value * 2.0**vectors.loss_bits)
