"""The coordinator leads vertical linear regression from encrypted cross products: this is its side of solver `gram`.

The protocol is in parties/linear/gram.py. The coordinator cuts up masked blocks without learning what they hold, opens
what is masked uniformly, directs conjugate gradients by two sums a round, looks for columns of different parties that
depend on each other where there may be some, and measures the error of the weights that are kept.
"""

from __future__ import annotations

import time
from typing import Any

import structlog

from coordinator.linear.conjugate import MOST_LACK, Conjugate
from coordinator.linear.ending import Ending
from coordinator.linear.probe import Probe
from coordinator.vertical.training import CoordinatorWork
from fedbus.algorithms.linear.layout import (
    PASS_ROUND,
    SCALAR_BITS,
    Layout,
    Pair,
    arrange,
    label_unit,
    lay_out,
    measured_bits,
)
from fedbus.algorithms.linear.messages import (
    CHECK,
    DIRECTION,
    PASS,
    PROBE,
    STOP,
    BlockColumns,
    BlockRows,
    EncryptedScalars,
    MaskedBlock,
    MaskedGradient,
    MaskedProducts,
    Step,
    Turn,
)
from fedbus.algorithms.linear.report import many_weights
from fedbus.algorithms.linear.spec import MOST_FEATURE_BITS, LinearJob
from fedbus.algorithms.vertical.messages import EncryptedLoss, Verdict
from fedbus.crypto import fixedpoint
from fedbus.crypto.tensor import CipherTensor
from fedbus.messages.envelope import TensorMessage

log = structlog.get_logger()


def train(work: CoordinatorWork[LinearJob], figures: dict[str, Any]) -> None:
    """Play the coordinator's part from the moment when the parties are aligned.

    Args:
        figures: gets what the report says of how training ended.

    Raises:
        ProtocolError, CryptoError: a party sent what the protocol does not allow.
    """
    session, unit = work.session, label_unit(work.training.score_bits)
    if not work.solver:
        session.at(PASS_ROUND)
        _cross(work, _layout(work), unit)
    while not work.verdict.stop:
        session.at(PASS_ROUND + work.training.products + 1)
        work.training.products += 1
        _ROUNDS[work.solver["then"]](work, _layout(work), unit)
    session.at(session.round + 1)
    _conclude(work, _layout(work), unit, figures)


def _layout(work: CoordinatorWork[LinearJob]) -> Layout:
    return lay_out(work.session.spec, work.training.rows, work.training.columns, work.solver.get("bits"))


def _conclude(work: CoordinatorWork[LinearJob], layout: Layout, unit: float, figures: dict[str, Any]) -> None:
    """Measure the error of the weights that are kept, and say how exact they are."""
    state, solver = Conjugate(**work.solver["state"]), work.solver
    ending = Ending(
        state=state,
        layout=layout,
        unit=unit,
        measured=_measured(work, layout, measured_bits(state.reach_exponent, layout.rows)),
        expected=solver["error"],
        most=work.session.spec.params.max_epochs,
        unfinished=_exhausted(work, state),
        kept=solver.get("kept", False),
        dependent=solver.get("dependent", False),
        cut=solver.get("cut", False),
    )
    work.verdict = Verdict(work.verdict.loss, stop=True, converged=ending.converged)
    figures["warnings"] = many_weights(work.session.spec, layout.rows, layout.columns) + ending.warnings
    figures["ended"] = ending.sentence
    figures["condition"], figures["fraction_bits"] = state.condition, layout.bits
    figures["lack"] = min(ending.lack, 1.0)
    work.end(ending.measured / 2 * unit**2)


def _exhausted(work: CoordinatorWork[LinearJob], state: Conjugate) -> bool:
    return not state.reached and len(work.training.losses) >= work.session.spec.params.max_epochs


def _cross(work: CoordinatorWork[LinearJob], layout: Layout, unit: float) -> None:
    """Steps 3 and 4 of the pass, the hosts' right-hand sides, and the loss at weights of zero."""
    session = work.session
    for number, pair in enumerate(layout.pairs):
        with session.batch(1 + number), session.phase("unpack"):
            _cut_up(work, layout, pair)
    for party in session.spec.host_parties:
        packs = layout.slots.packs(work.training.columns[party])
        work.vectors.serve(party, MaskedGradient, work.private, packs, layout.sum_bits)
    gain, square = _sums(work, 2)
    state = Conjugate.begin(layout, work.session.spec.params.residual, gain, square)
    if work.solver:
        # From the weights that there are, whose residual is computed anew.
        state.go_on(Conjugate(**work.solver["state"]).reach)
        _turn(work, state, CHECK, 0.0, work.verdict.loss)
        return
    work.solver = {"error": square}
    # The gain of weights of zero: where that is rounding, there is nothing to be found.
    then = _after(work, layout, state) if state.reached else DIRECTION
    _turn(work, state, then, 0.0, square / 2 * unit**2)


def _after(work: CoordinatorWork[LinearJob], layout: Layout, state: Conjugate) -> str:
    """What comes after the solution has been found as exactly as these bits allow."""
    if _exhausted(work, state) or layout.least_norm or not state.square:
        return STOP
    if state.lack() > MOST_LACK and _may_pass_again(work, layout):
        return PASS
    # Rounds after a second pass begin near the solution, and are too few to meet the largest eigenvalue.
    return PROBE if "bits" in work.solver or state.may_hide(len(layout.columns)) else STOP


def _may_pass_again(work: CoordinatorWork[LinearJob], layout: Layout) -> bool:
    return work.session.spec.params.feature_bits is None and layout.bits < MOST_FEATURE_BITS


def _turn(work: CoordinatorWork[LinearJob], state: Conjugate, then: str, factor: float, loss: float) -> None:
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
        with session.batch(2):
            (gain,) = _sums(work, 1)
            probe = Probe.begin(state.coarse, state.weights, gain)
            work.tell(Turn(0.0, probe.exponent, PROBE, loss, converged=False))
        kept["probe"] = probe.to_map()
    elif then == PASS:
        log.info("another pass over the rows", job=work.session.job, fraction_bits=bits)
        kept |= {"bits": bits, "kept": False, "cut": False}
    work.solver |= kept
    work.checkpoint()


def _cut_up(work: CoordinatorWork[LinearJob], layout: Layout, pair: Pair) -> None:
    """Open a masked block, and encrypt it anew in packs of either party's columns."""
    vectors, slots = work.vectors, layout.slots
    packs = slots.packs(pair.sent)
    tensor = vectors.recv_all(pair.multiplier, MaskedBlock, packs * pair.taken, layout.sum_bits)
    residues = vectors.engine.decrypt_residues(work.private, tensor)
    block = [slots.unpack(residues[row :: pair.taken], pair.sent) for row in range(pair.taken)]
    by_row, by_column = arrange(layout, pair, block)
    _send(work, pair.multiplier, BlockRows, by_row, layout.sum_bits)
    _send(work, pair.multiplier, BlockColumns, by_column, layout.sum_bits)


def _send(
    work: CoordinatorWork[LinearJob], party: str, kind: type[TensorMessage], packs: list[list[int]], scale: int
) -> None:
    vectors, plaintexts = work.vectors, [plaintext for pack in packs for plaintext in pack]
    parts = (
        vectors.engine.encrypt(vectors.key, plaintexts[start:stop], scale)
        for start, stop in vectors.ranges(len(plaintexts))
    )
    vectors.send(party, kind, len(plaintexts), parts)


def _round(work: CoordinatorWork[LinearJob], layout: Layout, unit: float) -> None:
    """Steps 7 to 9, or a check."""
    session, training, state = work.session, work.training, Conjugate(**work.solver["state"])
    started = time.monotonic()
    _serve(work, layout)
    most = session.spec.params.max_epochs
    if state.check:
        with session.batch(1):
            gain, objective, ridge = _sums(work, 3)
            again = state.checked(gain, last=len(training.losses) >= most)
            work.solver["error"] = objective - ridge
            _turn(work, state, DIRECTION if again else _after(work, layout, state), 0.0, objective / 2 * unit**2)
        return
    (curvature,) = _sums(work, 1)
    before = state.gain
    length = state.step(curvature)
    work.tell(Step(length))
    with session.batch(1):
        (gain,) = _sums(work, 1)
        # In exact arithmetic a step lowers the objective by half of its length times the gain.
        loss = work.verdict.loss - length * before / 2 * unit**2
        training.losses.append(loss)
        training.epoch_losses.append(loss)
        factor = state.turn(length, gain, last=len(training.losses) >= most)
        work.publish(time.monotonic() - started)
        _turn(work, state, CHECK if state.check else DIRECTION, factor, loss)


def _serve(work: CoordinatorWork[LinearJob], layout: Layout) -> None:
    """Open each party's product, masked."""
    with work.session.phase("decrypt"):
        for party in work.session.spec.parties:
            packs = layout.slots.packs(work.training.columns[party])
            work.vectors.serve(party, MaskedGradient, work.private, packs, layout.gradient_bits)


def _search(work: CoordinatorWork[LinearJob], layout: Layout, _: float) -> None:
    """A round of the search for columns of different parties that depend on each other."""
    session, state, probe = work.session, Conjugate(**work.solver["state"]), Probe(**work.solver["probe"])
    _serve(work, layout)
    (curvature,) = _sums(work, 1)
    length, keep = probe.step(curvature)
    work.tell(Step(length, keep))
    with session.batch(1):
        (gain,) = _sums(work, 1)
        factor = probe.turn(length, gain, last=len(probe.steps) + 1 >= session.spec.params.max_epochs)
        work.training.probed += 1
        work.solver |= {"probe": probe.to_map(), "kept": probe.found, "cut": probe.cut}
        _go_on(work, layout, state, probe, factor)


def _go_on(work: CoordinatorWork[LinearJob], layout: Layout, state: Conjugate, probe: Probe, factor: float) -> None:
    """Say what comes after a round of the search."""
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


def _measured(work: CoordinatorWork[LinearJob], layout: Layout, bits: int) -> float:
    """The mean squared error on the rows, in the square of the label's unit: parties/linear/measure.py."""
    session, vectors, slots = work.session, work.vectors, layout.score_slots
    doubled = 0
    for number, pair in enumerate(layout.pairs):
        with session.batch(1 + number):
            tensor = vectors.recv_all(pair.multiplier, MaskedProducts, slots.count, 2 * bits)
        rows = vectors.engine.decrypt_residues(work.private, tensor)
        doubled += sum(slots.unpack([row], slots.count)[slot] for slot, row in enumerate(rows))
    tensor = vectors.recv_all(session.spec.guest_party, EncryptedLoss, 1, 2 * bits)
    (total,) = vectors.engine.decrypt(work.private, tensor)
    return (int(total) + 2 * int(doubled)) / (1 << 2 * bits) / layout.rows


_ROUNDS = {DIRECTION: _round, CHECK: _round, PROBE: _search, PASS: _cross}


def _sums(work: CoordinatorWork[LinearJob], count: int) -> list[float]:
    """Sums over all parties that the guest added up."""
    tensor: CipherTensor = work.vectors.recv_all(work.session.spec.guest_party, EncryptedScalars, count, SCALAR_BITS)
    values: list[float] = fixedpoint.decode(work.vectors.engine.decrypt(work.private, tensor), SCALAR_BITS).tolist()
    return values
