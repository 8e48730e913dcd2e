"""Vertical linear regression from encrypted cross products: the coordinator's side. The protocol is in parties/gram.py.

It cuts up masked blocks without learning what they hold, opens what is masked uniformly, directs conjugate gradients by
two sums a round, and measures the error of the weights that are kept.
"""

from __future__ import annotations

import time
from typing import Any

from coordinator.conjugate import MOST_LACK, Conjugate
from coordinator.course import PASS_ROUND, Work, begin
from fedbus import gram
from fedbus.cautions import many_weights
from fedbus.crypto import fixedpoint
from fedbus.crypto.engine import Engine
from fedbus.crypto.tensor import CipherTensor
from fedbus.gram import SCORE_BITS, Pair, Plan
from fedbus.messages import (
    BlockColumns,
    BlockRows,
    EncryptedLoss,
    EncryptedScalars,
    MaskedBlock,
    MaskedGradient,
    MaskedProducts,
    Step,
    TensorMessage,
    Turn,
    Verdict,
)
from fedbus.session import Session

# Parts of the error that is measured, and of the label's variance, by which it may differ from what the solver worked
# with, besides what the rounding of columns explains.
_AGREED, _AGREED_OF_LABEL = 1e-5, 1e-7


def coordinate(session: Session, engine: Engine, figures: dict[str, Any]) -> None:
    """The coordinator's part.

    Args:
        figures: gets what the report says of training, however the job ends.

    Raises:
        ProtocolError, CryptoError: a party sent what the protocol does not allow.
    """
    work = begin(session, engine)
    layout = gram.plan(session.linear, work.course.rows, work.course.columns)
    unit = gram.label_unit(work.course.score_bits)
    with work.reporting(figures):
        if not work.solver:
            _cross(work, layout, unit)
        while not work.verdict.stop:
            session.at(PASS_ROUND + work.course.products + 1)
            _round(work, layout, unit)
        session.at(session.round + 1)
        _conclude(work, layout, unit, figures)


def _conclude(work: Work, layout: Plan, unit: float, figures: dict[str, Any]) -> None:
    """Measure the error of the weights that are kept, and say how exact they are."""
    state, params = Conjugate(**work.solver["state"]), work.session.linear.params
    measured = _measured(work, layout)
    expected = work.solver["error"]
    allowed = state.blur + 2 * (state.blur * measured) ** 0.5
    agreed = abs(measured - expected) <= allowed + _AGREED * measured + _AGREED_OF_LABEL * state.square
    lack, exhausted = state.lack(), not state.reached and len(work.course.losses) >= params.max_epochs
    warnings = many_weights(work.session.linear, layout.rows, layout.columns)
    if not exhausted and lack > MOST_LACK:
        wanted = state.bits_wanted()
        raised = "" if wanted is None or wanted == layout.bits else f"raise params.feature_bits to {wanted}, "
        warnings.append(
            f"Columns of different parties depend on each other so closely (condition {state.condition:.1e}) that"
            f" {layout.bits} fraction bits do not carry the solution: R2 may be {min(lack, 1.0):.1e} below the best;"
            f" {raised}set params.l2, or leave one of these columns out."
        )
    elif not agreed:
        warnings.append(
            f"The error measured on the rows (MSE {measured * unit**2:.6g}) is not the one of the numbers that the"
            f" solver worked with ({expected * unit**2:.6g}): they are too coarse for these columns; raise"
            f" params.feature_bits (now {layout.bits}), set params.l2, or leave columns out that depend on each other."
        )
    exact = lack <= MOST_LACK and agreed
    work.verdict = Verdict(work.verdict.loss, stop=True, converged=exact and not exhausted)
    figures["warnings"] = warnings
    figures["ended"] = _ended(exhausted=exhausted, exact=exact, most=params.max_epochs)
    figures["condition"], figures["fraction_bits"], figures["lack"] = state.condition, layout.bits, min(lack, 1.0)
    work.end(measured / 2 * unit**2)


def _ended(*, exhausted: bool, exact: bool, most: int) -> str:
    if exhausted:
        return f"not converged in {most} rounds (params.max_epochs)"
    return "converged" if exact else "not converged: the numbers are too coarse for these columns"


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
    state = Conjugate.begin(layout, work.session.linear.params.residual, gain, square)
    # The gain of weights of zero: where that is rounding, there is nothing to be found.
    work.solver = {"state": state.to_map(), "error": square}
    _turn(work, state, 0.0, square / 2 * unit**2, stop=state.reached)


def _turn(work: Work, state: Conjugate, factor: float, loss: float, *, stop: bool) -> None:
    """Say what comes next, and make the end of the round durable."""
    converged = stop and state.reached
    work.verdict = Verdict(loss, stop=stop, converged=converged)
    work.tell(Turn(factor, state.exponent, state.check, loss, stop, converged))
    work.solver = {**work.solver, "state": state.to_map()}
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
    """Steps 7 to 9, or a check."""
    session, course, state = work.session, work.course, Conjugate(**work.solver["state"])
    started = time.monotonic()
    with session.phase("decrypt"):
        for party in session.spec.parties:
            packs = layout.slots.packs(course.columns[party])
            work.vectors.serve(party, MaskedGradient, work.private, packs, layout.gradient_bits)
    course.products += 1
    most = session.linear.params.max_epochs
    if state.check:
        session.at(session.round, batch=1)
        gain, objective, ridge = _sums(work, 3)
        again = state.checked(gain, last=len(course.losses) >= most)
        work.solver["error"] = objective - ridge
        _turn(work, state, 0.0, objective / 2 * unit**2, stop=not again)
        return
    (curvature,) = _sums(work, 1)
    before = state.gain
    length = state.step(curvature)
    work.tell(Step(length))
    session.at(session.round, batch=1)
    (gain,) = _sums(work, 1)
    # In exact arithmetic a step lowers the objective by half of its length times the gain.
    loss = work.verdict.loss - length * before / 2 * unit**2
    course.losses.append(loss)
    course.epoch_losses.append(loss)
    factor = state.turn(length, gain, last=len(course.losses) >= most)
    work.publish(time.monotonic() - started)
    _turn(work, state, factor, loss, stop=False)


def _measured(work: Work, layout: Plan) -> float:
    """The mean squared error on the rows, in the square of the label's unit: parties/measure.py."""
    session, vectors, slots = work.session, work.vectors, layout.score_slots
    place, doubled = session.round, 0
    for number, pair in enumerate(layout.pairs):
        session.at(place, batch=1 + number)
        tensor = vectors.recv_all(pair.multiplier, MaskedProducts, slots.count, 2 * SCORE_BITS)
        rows = vectors.engine.decrypt_residues(work.private, tensor)
        doubled += sum(slots.unpack([row], slots.count)[slot] for slot, row in enumerate(rows))
    session.at(place)
    tensor = vectors.recv_all(session.guest, EncryptedLoss, 1, 2 * SCORE_BITS)
    (total,) = vectors.engine.decrypt(work.private, tensor)
    return (int(total) + 2 * int(doubled)) / (1 << 2 * SCORE_BITS) / layout.rows


def _sums(work: Work, count: int) -> list[float]:
    """Sums over all parties that the guest added up."""
    tensor: CipherTensor = work.vectors.recv_all(work.session.guest, EncryptedScalars, count, gram.SCALAR_BITS)
    values: list[float] = fixedpoint.decode(
        work.vectors.engine.decrypt(work.private, tensor), gram.SCALAR_BITS
    ).tolist()
    return values
