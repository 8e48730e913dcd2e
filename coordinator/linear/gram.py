"""Vertical linear regression from encrypted cross products: the coordinator's side.

The protocol is in parties/linear/gram.py. The coordinator cuts up masked blocks without learning what they hold, opens
what is masked uniformly, directs conjugate gradients by two sums a round, looks for columns of different parties that
depend on each other where there may be some, and measures the error of the weights that are kept.
"""

from __future__ import annotations

import time
from typing import Any

import structlog

from coordinator.linear.conjugate import MOST_LACK, Conjugate
from coordinator.linear.probe import Probe
from coordinator.vertical.course import PASS_ROUND, Work, begin
from fedbus.algorithms.linear import gram
from fedbus.algorithms.linear.gram import Pair, Plan
from fedbus.algorithms.linear.messages import (
    CHECK,
    DIRECTION,
    PASS,
    PROBE,
    STOP,
    BlockColumns,
    BlockRows,
    EncryptedLoss,
    EncryptedScalars,
    MaskedBlock,
    MaskedGradient,
    MaskedProducts,
    Step,
    Turn,
    Verdict,
)
from fedbus.algorithms.linear.report import many_weights
from fedbus.algorithms.linear.spec import MOST_FEATURE_BITS
from fedbus.crypto import fixedpoint
from fedbus.crypto.engine import Engine
from fedbus.crypto.tensor import CipherTensor
from fedbus.messages.envelope import TensorMessage
from fedbus.session.session import Session

log = structlog.get_logger()

_NAMED = " Each party's log and stored model name its own of them."
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
    unit = gram.label_unit(work.course.score_bits)
    with work.reporting(figures):
        if not work.solver:
            session.at(PASS_ROUND)
            _cross(work, _layout(work), unit)
        while not work.verdict.stop:
            session.at(PASS_ROUND + work.course.products + 1)
            work.course.products += 1
            _ROUNDS[work.solver["then"]](work, _layout(work), unit)
        session.at(session.round + 1)
        _conclude(work, _layout(work), unit, figures)


def _layout(work: Work) -> Plan:
    return gram.plan(work.session.linear, work.course.rows, work.course.columns, work.solver.get("bits"))


def _conclude(work: Work, layout: Plan, unit: float, figures: dict[str, Any]) -> None:
    """Measure the error of the weights that are kept, and say how exact they are."""
    state, params = Conjugate(**work.solver["state"]), work.session.linear.params
    measured = _measured(work, layout, gram.score_bits(state.reach_exponent, layout.rows))
    expected = work.solver["error"]
    allowed = state.blur + 2 * (state.blur * measured) ** 0.5
    agreed = abs(measured - expected) <= allowed + _AGREED * measured + _AGREED_OF_LABEL * state.square
    lack, exhausted = state.lack(), _exhausted(work, state)
    warnings = many_weights(work.session.linear, layout.rows, layout.columns)
    if not exhausted and lack > MOST_LACK:
        wanted = state.bits_wanted()
        raised = "" if wanted is None or wanted == layout.bits else f"raise params.feature_bits to {wanted}, "
        warnings.append(
            f"Columns of different parties depend on each other so closely (condition {state.condition:.1e}) that"
            f" {layout.bits} fraction bits do not carry the solution: R2 may be {min(lack, 1.0):.1e} below the best;"
            f" {raised}set params.l2, or leave one of these columns out.{_NAMED if work.solver.get('kept') else ''}"
        )
    elif not agreed:
        warnings.append(
            f"The error measured on the rows (MSE {measured * unit**2:.6g}) is not the one of the numbers that the"
            f" solver worked with ({expected * unit**2:.6g}): they are too coarse for these columns; raise"
            f" params.feature_bits (now {layout.bits}), set params.l2, or leave columns out that depend on each other."
        )
    if work.solver.get("dependent") and lack <= MOST_LACK:
        raised = f"raise params.feature_bits to {MOST_FEATURE_BITS}, " if layout.bits < MOST_FEATURE_BITS else ""
        warnings.append(
            f"Columns of different parties agree, or add up to each other, to about {0.3 * layout.bits:.0f} digits, and"
            " count as dependent: a label that needs what is beyond these digits is not explained by it; if it may,"
            f" {raised}have one party offer the difference as a column, or leave one of the columns out.{_NAMED}"
        )
    if work.solver.get("cut"):
        warnings.append(
            f"{params.max_epochs} rounds (params.max_epochs) were too few to find out whether columns of different"
            " parties depend on each other: if some do, R2 may be below the best; raise params.max_epochs."
        )
        exhausted = True
    exact = lack <= MOST_LACK and agreed
    work.verdict = Verdict(work.verdict.loss, stop=True, converged=exact and not exhausted)
    figures["warnings"] = warnings
    figures["ended"] = _ended(exhausted=exhausted, exact=exact, most=params.max_epochs)
    figures["condition"], figures["fraction_bits"], figures["lack"] = state.condition, layout.bits, min(lack, 1.0)
    work.end(measured / 2 * unit**2)


def _exhausted(work: Work, state: Conjugate) -> bool:
    return not state.reached and len(work.course.losses) >= work.session.linear.params.max_epochs


def _ended(*, exhausted: bool, exact: bool, most: int) -> str:
    if exhausted:
        return f"not converged in {most} rounds (params.max_epochs)"
    return "converged" if exact else "not converged: the numbers are too coarse for these columns"


def _cross(work: Work, layout: Plan, unit: float) -> None:
    """Steps 3 and 4 of the pass, the hosts' right-hand sides, and the loss at weights of zero."""
    session, place = work.session, work.session.round
    for number, pair in enumerate(layout.pairs):
        session.at(place, batch=1 + number)
        with session.phase("unpack"):
            _cut_up(work, layout, pair)
    session.at(place)
    for party in session.hosts:
        packs = layout.slots.packs(work.course.columns[party])
        work.vectors.serve(party, MaskedGradient, work.private, packs, layout.sum_bits)
    gain, square = _sums(work, 2)
    state = Conjugate.begin(layout, work.session.linear.params.residual, gain, square)
    if work.solver:
        # From the weights that there are, whose residual is computed anew.
        state.go_on(Conjugate(**work.solver["state"]).reach)
        _turn(work, state, CHECK, 0.0, work.verdict.loss)
        return
    work.solver = {"error": square}
    # The gain of weights of zero: where that is rounding, there is nothing to be found.
    then = _after(work, layout, state) if state.reached else DIRECTION
    _turn(work, state, then, 0.0, square / 2 * unit**2)


def _after(work: Work, layout: Plan, state: Conjugate) -> str:
    """What comes after the solution has been found as exactly as these bits allow."""
    if _exhausted(work, state) or layout.least_norm or not state.square:
        return STOP
    if state.lack() > MOST_LACK and _may_pass_again(work, layout):
        return PASS
    # Rounds after a second pass begin near the solution, and are too few to meet the largest eigenvalue.
    return PROBE if "bits" in work.solver or state.may_hide(len(layout.columns)) else STOP


def _may_pass_again(work: Work, layout: Plan) -> bool:
    return work.session.linear.params.feature_bits is None and layout.bits < MOST_FEATURE_BITS


def _turn(work: Work, state: Conjugate, then: str, factor: float, loss: float) -> None:
    """Say what comes next, and make the end of the round durable."""
    stop = then == STOP
    converged = stop and state.reached
    work.verdict = Verdict(loss, stop=stop, converged=converged)
    bits = MOST_FEATURE_BITS if then == PASS else 0
    exponent = state.reach_exponent if stop else state.exponent
    work.tell(Turn(factor, exponent, then, loss, converged, bits))
    kept: dict[str, Any] = {"state": state.to_map(), "then": then}
    if then == PROBE:
        # The parties draw theirs, and the gain follows.
        session = work.session
        session.at(session.round, batch=2)
        (gain,) = _sums(work, 1)
        probe = Probe.begin(state.coarse, state.weights, gain)
        work.tell(Turn(0.0, probe.exponent, PROBE, loss, converged=False))
        kept["probe"] = probe.to_map()
    elif then == PASS:
        log.info("another pass over the rows", job=work.session.job, fraction_bits=bits)
        kept |= {"bits": bits, "kept": False, "cut": False}
    work.solver |= kept
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
    _serve(work, layout)
    most = session.linear.params.max_epochs
    if state.check:
        session.at(session.round, batch=1)
        gain, objective, ridge = _sums(work, 3)
        again = state.checked(gain, last=len(course.losses) >= most)
        work.solver["error"] = objective - ridge
        _turn(work, state, DIRECTION if again else _after(work, layout, state), 0.0, objective / 2 * unit**2)
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
    _turn(work, state, CHECK if state.check else DIRECTION, factor, loss)


def _serve(work: Work, layout: Plan) -> None:
    """Open each party's product, masked."""
    with work.session.phase("decrypt"):
        for party in work.session.spec.parties:
            packs = layout.slots.packs(work.course.columns[party])
            work.vectors.serve(party, MaskedGradient, work.private, packs, layout.gradient_bits)


def _search(work: Work, layout: Plan, _: float) -> None:
    """A round of the search for columns of different parties that depend on each other."""
    session, state, probe = work.session, Conjugate(**work.solver["state"]), Probe(**work.solver["probe"])
    _serve(work, layout)
    (curvature,) = _sums(work, 1)
    length, keep = probe.step(curvature)
    work.tell(Step(length, keep))
    session.at(session.round, batch=1)
    (gain,) = _sums(work, 1)
    factor = probe.turn(length, gain, last=len(probe.steps) + 1 >= session.linear.params.max_epochs)
    work.course.probed += 1
    work.solver |= {"probe": probe.to_map(), "kept": probe.found, "cut": probe.cut}
    loss = work.verdict.loss
    if not probe.done:
        work.tell(Turn(factor, probe.exponent, PROBE, loss, converged=False))
        work.checkpoint()
        return
    if probe.found and _may_pass_again(work, layout):
        _turn(work, state, PASS, 0.0, loss)
        return
    # What cannot be told from no variation at all is no part of the condition: no bits of this pass would help.
    work.solver["dependent"] = probe.found and probe.least <= state.dependent
    if not work.solver["dependent"]:
        state.smallest, state.largest = min(state.smallest, probe.least), max(state.largest, probe.most)
    _turn(work, state, STOP, 0.0, loss)


def _measured(work: Work, layout: Plan, bits: int) -> float:
    """The mean squared error on the rows, in the square of the label's unit: parties/linear/measure.py."""
    session, vectors, slots = work.session, work.vectors, layout.score_slots
    place, doubled = session.round, 0
    for number, pair in enumerate(layout.pairs):
        session.at(place, batch=1 + number)
        tensor = vectors.recv_all(pair.multiplier, MaskedProducts, slots.count, 2 * bits)
        rows = vectors.engine.decrypt_residues(work.private, tensor)
        doubled += sum(slots.unpack([row], slots.count)[slot] for slot, row in enumerate(rows))
    session.at(place)
    tensor = vectors.recv_all(session.guest, EncryptedLoss, 1, 2 * bits)
    (total,) = vectors.engine.decrypt(work.private, tensor)
    return (int(total) + 2 * int(doubled)) / (1 << 2 * bits) / layout.rows


_ROUNDS = {DIRECTION: _round, CHECK: _round, PROBE: _search, PASS: _cross}


def _sums(work: Work, count: int) -> list[float]:
    """Sums over all parties that the guest added up."""
    tensor: CipherTensor = work.vectors.recv_all(work.session.guest, EncryptedScalars, count, gram.SCALAR_BITS)
    values: list[float] = fixedpoint.decode(
        work.vectors.engine.decrypt(work.private, tensor), gram.SCALAR_BITS
    ).tolist()
    return values
