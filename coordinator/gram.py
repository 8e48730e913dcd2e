"""Vertical linear regression from encrypted cross products: the coordinator's side. The protocol is in parties/gram.py.

It cuts up masked blocks without learning what they hold, opens what is masked uniformly, and directs conjugate
gradients by two sums a round.
"""

from __future__ import annotations

import time
from typing import Any

from coordinator.course import PASS_ROUND, Work, begin
from fedbus import gram
from fedbus.crypto import fixedpoint
from fedbus.crypto.engine import Engine
from fedbus.crypto.tensor import CipherTensor
from fedbus.errors import JobFailed
from fedbus.gram import Pair, Plan
from fedbus.messages import (
    BlockColumns,
    BlockRows,
    EncryptedScalars,
    MaskedBlock,
    MaskedGradient,
    Step,
    TensorMessage,
    Turn,
    Verdict,
)
from fedbus.session import Session

# In the square of the label's unit: what is less is the rounding of directions and sums.
_LEAST_GAIN = 2.0**-70


def coordinate(session: Session, engine: Engine, figures: dict[str, Any]) -> None:
    """The coordinator's part.

    Args:
        figures: gets what the report says of training, however the job ends.

    Raises:
        JobFailed: the columns depend on each other so much that the method cannot go on.
        ProtocolError, CryptoError: a party sent what the protocol does not allow.
    """
    work = begin(session, engine)
    layout = gram.plan(session.linear, work.course.rows, work.course.columns)
    unit = gram.label_unit(work.course.score_bits)
    with work.reporting(figures):
        if not work.solver:
            _cross(work, layout, unit)
        while not work.verdict.stop:
            session.at(PASS_ROUND + len(work.course.losses) + 1)
            _round(work, layout, unit)
        session.at(session.round + 1)
        (twice,) = _sums(work, 1)
        # A difference of numbers that are equal where the fit is perfect.
        work.end(max(0.0, twice) / 2 * unit**2)


def _cross(work: Work, layout: Plan, unit: float) -> None:
    """Steps 3 and 4 of the pass, the hosts' right-hand sides, and the loss at weights of zero."""
    session = work.session
    for number, pair in enumerate(layout.pairs):
        session.at(PASS_ROUND, batch=1 + number)
        with session.phase("unpack"):
            _cut_up(work, layout, pair)
    session.at(PASS_ROUND)
    for party in session.hosts:
        packs = layout.slots.packs(work.course.columns[party])
        work.vectors.serve(party, MaskedGradient, work.private, packs, layout.sum_bits)
    gain, square = _sums(work, 2)
    loss = square / 2 * unit**2
    work.solver = {"gain": gain, "first_gain": gain}
    converged = gain <= _LEAST_GAIN
    work.verdict = Verdict(loss, stop=converged, converged=converged)
    work.tell(Turn(0.0, loss, stop=converged, converged=converged))
    work.checkpoint()


def _cut_up(work: Work, layout: Plan, pair: Pair) -> None:
    """Open a masked block, and encrypt it anew in packs of either party's columns."""
    vectors, slots = work.vectors, layout.slots
    packs = slots.packs(pair.sent)
    tensor = vectors.recv_all(pair.multiplier, MaskedBlock, packs * pair.taken, layout.sum_bits)
    residues = vectors.engine.decrypt_residues(work.private, tensor)
    block = [slots.unpack(residues[row :: pair.taken], pair.sent) for row in range(pair.taken)]
    by_row, by_column = gram.arrange(layout, pair, block)
    _send(work, pair.multiplier, BlockRows, by_row, layout.sum_bits)
    _send(work, pair.multiplier, BlockColumns, by_column, layout.sum_bits)


def _send(work: Work, party: str, kind: type[TensorMessage], packs: list[list[int]], scale: int) -> None:
    vectors, plaintexts = work.vectors, [plaintext for pack in packs for plaintext in pack]
    parts = (
        vectors.engine.encrypt(vectors.key, plaintexts[start:stop], scale)
        for start, stop in vectors.ranges(len(plaintexts))
    )
    vectors.send(party, kind, len(plaintexts), parts)


def _round(work: Work, layout: Plan, unit: float) -> None:
    """Steps 7 to 9."""
    session, params, solver, course = work.session, work.session.linear.params, work.solver, work.course
    started = time.monotonic()
    with session.phase("decrypt"):
        for party in session.spec.parties:
            packs = layout.slots.packs(course.columns[party])
            work.vectors.serve(party, MaskedGradient, work.private, packs, layout.gradient_bits)
    (curvature,) = _sums(work, 1)
    if curvature <= 0:
        raise JobFailed(
            "the parties' columns depend on each other so much that rounding decides; set params.l2, "
            "leave columns out, or raise params.feature_bits"
        )
    length = solver["gain"] / curvature
    work.tell(Step(length))
    session.at(session.round, batch=1)
    (gain,) = _sums(work, 1)
    # In exact arithmetic a step lowers the loss by half of its length times the gain.
    loss = work.verdict.loss - length * solver["gain"] / 2 * unit**2
    converged = gain <= max(params.tolerance**2 * solver["first_gain"], _LEAST_GAIN)
    course.losses.append(loss)
    course.epoch_losses.append(loss)
    work.verdict = Verdict(loss, stop=converged or len(course.losses) >= params.max_epochs, converged=converged)
    work.tell(Turn(gain / solver["gain"], loss, work.verdict.stop, converged))
    work.solver = {**solver, "gain": gain}
    work.publish(time.monotonic() - started)
    work.checkpoint()


def _sums(work: Work, count: int) -> list[float]:
    """Sums over all parties that the guest added up."""
    tensor: CipherTensor = work.vectors.recv_all(work.session.guest, EncryptedScalars, count, gram.SCALAR_BITS)
    values: list[float] = fixedpoint.decode(
        work.vectors.engine.decrypt(work.private, tensor), gram.SCALAR_BITS
    ).tolist()
    return values
