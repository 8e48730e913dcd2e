"""The coordinator leads vertical linear regression by gradient descent. The protocol is in parties/linear/sgd.py.

It makes the key, opens what the parties masked, judges the loss, and learns nothing else: masked values are uniform.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from coordinator.vertical.training import CoordinatorWork, Training
from fedbus.algorithms.linear.messages import MaskedGradient
from fedbus.algorithms.linear.report import many_weights
from fedbus.algorithms.linear.spec import LinearJob
from fedbus.algorithms.vertical.agreed import ALIGNMENT_ROUND
from fedbus.algorithms.vertical.batching import batches
from fedbus.algorithms.vertical.messages import EncryptedLoss, Verdict
from fedbus.errors import JobFailed

# A loss that is this many times the first one will not come back.
_DIVERGED = 1e6


def train(work: CoordinatorWork[LinearJob], figures: dict[str, Any]) -> None:
    """Play the coordinator's part from the moment when the parties are aligned.

    Args:
        figures: gets what the report says of how training ended.

    Raises:
        JobFailed: training diverged.
        ProtocolError, CryptoError: a party sent what the protocol does not allow.
    """
    session, training, vectors = work.session, work.training, work.vectors
    params = session.spec.params
    while not work.verdict.stop:
        session.at(ALIGNMENT_ROUND + len(training.losses) + 1)
        started = time.monotonic()
        spans = batches(training.rows, params.batch_size)
        start, stop = spans[len(training.losses) % len(spans)]
        loss = _open_loss(work, stop - start)
        with session.phase("decrypt"):
            for party in session.spec.parties:
                vectors.serve(party, MaskedGradient, work.private, training.columns[party], vectors.gradient_bits)
        work.verdict = judge(training, loss, session.spec)
        work.tell(work.verdict)
        work.publish(time.monotonic() - started)
        work.checkpoint()
    session.at(session.round + 1)
    work.end(_open_loss(work, training.rows))
    figures["warnings"] = many_weights(session.spec, training.rows, training.columns)
    if work.verdict.converged:
        figures["ended"] = (
            f"converged: the loss changed by no more than {params.change:g} of itself in {params.patience} epochs"
            " running; where columns nearly depend on each other that may be far from the best model, which solver"
            ' "gram" finds'
        )


def judge(training: Training, loss: float, spec: LinearJob) -> Verdict:
    """Enter a round's loss and say whether training goes on.

    Raises:
        JobFailed: the loss grows without bound.
    """
    params = spec.params
    sizes = [stop - start for start, stop in batches(training.rows, params.batch_size)]
    training.losses.append(loss)
    if not math.isfinite(loss) or loss > _DIVERGED * max(training.losses[0], 1e-12):
        raise JobFailed(
            f"training diverged: the loss is {loss:.3g} in round {len(training.losses)} and was"
            f" {training.losses[0]:.3g} in the first; {spec.against_divergence}"
        )
    if len(training.losses) % len(sizes):
        return Verdict(loss, stop=False, converged=False)
    epoch = float(np.average(training.losses[-len(sizes) :], weights=sizes))
    if training.epoch_losses:
        change = abs(epoch - training.epoch_losses[-1])
        training.calm = training.calm + 1 if change <= params.change * abs(epoch) else 0
    training.epoch_losses.append(epoch)
    converged = training.calm >= params.patience
    return Verdict(loss, stop=converged or len(training.epoch_losses) >= params.max_epochs, converged=converged)


def _open_loss(work: CoordinatorWork[LinearJob], rows: int) -> float:
    vectors = work.vectors
    with work.session.phase("loss"):
        tensor = vectors.recv_all(work.session.spec.guest_party, EncryptedLoss, 1, vectors.loss_bits)
        (total,) = vectors.engine.decrypt(work.private, tensor)
        return int(total) / (1 << tensor.scale) / (2 * rows)
