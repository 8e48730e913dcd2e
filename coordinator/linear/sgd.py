"""Vertical linear regression by gradient descent: the coordinator's side. The protocol is in parties/linear/sgd.py.

It makes the key, opens what the parties masked, judges the loss, and learns nothing else: masked values are uniform.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from coordinator.vertical.course import ALIGNMENT_ROUND, Course, Work, begin
from fedbus.algorithms.linear.messages import EncryptedLoss, MaskedGradient, Verdict
from fedbus.algorithms.linear.report import many_weights
from fedbus.algorithms.linear.spec import LinearParams
from fedbus.algorithms.vertical.batching import batches
from fedbus.crypto.engine import Engine
from fedbus.errors import JobFailed
from fedbus.session.session import Session

# A loss that is this many times the first one will not come back.
_DIVERGED = 1e6


def coordinate(session: Session, engine: Engine, figures: dict[str, Any]) -> None:
    """The coordinator's part.

    Args:
        figures: gets what the report says of training, however the job ends.

    Raises:
        JobFailed: training diverged.
        JobRefused, ProtocolError, CryptoError: see `begin`; a party sent what the protocol does not allow.
    """
    work = begin(session, engine)
    params, course, vectors = session.linear.params, work.course, work.vectors
    with work.reporting(figures):
        while not work.verdict.stop:
            session.at(ALIGNMENT_ROUND + len(course.losses) + 1)
            started = time.monotonic()
            spans = batches(course.rows, params.batch_size)
            start, stop = spans[len(course.losses) % len(spans)]
            loss = _open_loss(work, stop - start)
            with session.phase("decrypt"):
                for party in session.spec.parties:
                    vectors.serve(party, MaskedGradient, work.private, course.columns[party], vectors.gradient_bits)
            work.verdict = judge(course, loss, params)
            work.tell(work.verdict)
            work.publish(time.monotonic() - started)
            work.checkpoint()
        session.at(session.round + 1)
        work.end(_open_loss(work, course.rows))
        figures["warnings"] = many_weights(session.linear, course.rows, course.columns)
        if work.verdict.converged:
            figures["ended"] = (
                f"converged: the loss changed by no more than {params.change:g} of itself in {params.patience} epochs"
                " running; where columns nearly depend on each other that may be far from the best model, which solver"
                ' "gram" finds'
            )


def judge(course: Course, loss: float, params: LinearParams) -> Verdict:
    """Enter a round's loss and say whether training goes on.

    Raises:
        JobFailed: the loss grows without bound.
    """
    sizes = [stop - start for start, stop in batches(course.rows, params.batch_size)]
    course.losses.append(loss)
    if not math.isfinite(loss) or loss > _DIVERGED * max(course.losses[0], 1e-12):
        raise JobFailed(
            f"training diverged: the loss is {loss:.3g} in round {len(course.losses)} and was {course.losses[0]:.3g} "
            f"in the first; lower params.learning_rate (now {params.learning_rate:g})"
        )
    if len(course.losses) % len(sizes):
        return Verdict(loss, stop=False, converged=False)
    epoch = float(np.average(course.losses[-len(sizes) :], weights=sizes))
    if course.epoch_losses:
        change = abs(epoch - course.epoch_losses[-1])
        course.calm = course.calm + 1 if change <= params.change * abs(epoch) else 0
    course.epoch_losses.append(epoch)
    converged = course.calm >= params.patience
    return Verdict(loss, stop=converged or len(course.epoch_losses) >= params.max_epochs, converged=converged)


def _open_loss(work: Work, rows: int) -> float:
    vectors = work.vectors
    with work.session.phase("loss"):
        tensor = vectors.recv_all(work.session.guest, EncryptedLoss, 1, vectors.loss_bits)
        (total,) = vectors.engine.decrypt(work.private, tensor)
        return int(total) / (1 << tensor.scale) / (2 * rows)
