"""Vertical linear regression: the coordinator's side. The protocol is in parties/linear.py.

It makes the key, opens what the parties masked, judges the loss, and learns nothing else: masked values are uniform.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coordinator import align
from fedbus import jobs, metrics
from fedbus.batching import batches, count
from fedbus.crypto.engine import Engine
from fedbus.crypto.paillier import PrivateKey
from fedbus.errors import JobFailed, JobRefused
from fedbus.jobs import LinearParams
from fedbus.messages import EncryptedLoss, MaskedGradient, MaskedScores, Progress, PublicKey, Verdict
from fedbus.session import Session
from fedbus.vectors import Vectors

# Its messages and those of the parties meet in the same rounds; see parties/share.py.
_KEY_ROUND, _ALIGNMENT_ROUND = 0, 1
# A loss that is this many times the first one will not come back.
_DIVERGED = 1e6


@dataclass(slots=True)
class Course:
    """The course of training.

    Attributes:
        rows, test_rows, columns, score_bits: as of align.Sizes.
        losses: of each round, on its batch, before its step.
        epoch_losses: of each epoch, the mean over its rows.
        seconds: of each round, from its start to the verdict.
        calm: epochs in a row in which the loss changed by no more than the tolerance.
    """

    rows: int
    test_rows: int
    columns: dict[str, int]
    score_bits: int
    losses: list[float] = field(default_factory=list)
    epoch_losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    calm: int = 0

    def judge(self, loss: float, params: LinearParams) -> Verdict:
        """Enter a round's loss and say whether training goes on.

        Raises:
            JobFailed: the loss grows without bound.
        """
        sizes = [stop - start for start, stop in batches(self.rows, params.batch_size)]
        self.losses.append(loss)
        if not math.isfinite(loss) or loss > _DIVERGED * max(self.losses[0], 1e-12):
            raise JobFailed(
                f"training diverged: the loss is {loss:.3g} in round {len(self.losses)} and was {self.losses[0]:.3g} "
                f"in the first; lower params.learning_rate (now {params.learning_rate:g})"
            )
        if len(self.losses) % len(sizes):
            return Verdict(loss, stop=False, converged=False)
        epoch = float(np.average(self.losses[-len(sizes) :], weights=sizes))
        if self.epoch_losses:
            change = abs(epoch - self.epoch_losses[-1])
            self.calm = self.calm + 1 if change <= params.tolerance * abs(epoch) else 0
        self.epoch_losses.append(epoch)
        converged = self.calm >= params.patience
        return Verdict(loss, stop=converged or len(self.epoch_losses) >= params.max_epochs, converged=converged)


def coordinate(session: Session, engine: Engine) -> dict[str, Any]:
    """The coordinator's part; returns the report's figures on training.

    Raises:
        JobFailed: training diverged.
        JobRefused: more rounds may be needed than a report can hold.
        ProtocolError, CryptoError: a party sent what the protocol does not allow.
    """
    spec, parties = session.spec, session.spec.parties
    state = session.restore() or _begin(session, engine)
    private = PrivateKey.from_primes(*(int.from_bytes(prime, "big") for prime in state["primes"]))
    course, verdict = _course(session, state, private)
    vectors = Vectors(session, engine, private.public, course.score_bits)
    while not verdict.stop:
        session.at(_ALIGNMENT_ROUND + len(course.losses) + 1)
        started = time.monotonic()
        spans = batches(course.rows, spec.params.batch_size)
        start, stop = spans[len(course.losses) % len(spans)]
        loss = _open_loss(vectors, private, stop - start)
        with session.phase("decrypt"):
            for party in parties:
                vectors.serve(party, MaskedGradient, private, course.columns[party], vectors.gradient_bits)
        verdict = course.judge(loss, spec.params)
        for party in parties:
            session.send(party, verdict)
        seconds = time.monotonic() - started
        course.seconds.append(seconds)
        _publish(session, course, seconds)
        session.checkpoint(_state(state, course, verdict))

    session.at(session.round + 1)
    final = Verdict(_open_loss(vectors, private, course.rows), stop=True, converged=verdict.converged)
    for party in parties:
        session.send(party, final)
    if course.test_rows:
        session.at(session.round + 1)
        vectors.serve(session.guest, MaskedScores, private, course.test_rows, vectors.score_bits)
    return _figures(course, final)


def _begin(session: Session, engine: Engine) -> dict[str, Any]:
    # The key is durable before anybody hears of it: a restarted coordinator must not hand out another one.
    session.at(_KEY_ROUND)
    private = engine.generate_keypair(session.spec.params.key_bits)
    state = {"primes": [int(p).to_bytes(p.bit_length(), "big") for p in (private.p, private.q)]}
    session.checkpoint(state)
    return state


def _course(session: Session, state: dict[str, Any], private: PrivateKey) -> tuple[Course, Verdict]:
    if "course" in state:
        return Course(**state["course"]), Verdict(**state["verdict"])
    session.at(_ALIGNMENT_ROUND)
    sizes = align.coordinate(session)
    _check_rounds(sizes.rows, session.spec.params)
    for party in session.spec.parties:
        session.send(party, PublicKey(private.public.to_bytes(), sizes.columns, sizes.score_bits))
    course = Course(sizes.rows, sizes.test_rows, sizes.columns, sizes.score_bits)
    verdict = Verdict(0.0, stop=False, converged=False)
    session.checkpoint(_state(state, course, verdict))
    return course, verdict


def _check_rounds(rows: int, params: LinearParams) -> None:
    epoch = count(rows, params.batch_size)
    if params.max_epochs * epoch > jobs.MAX_ROUNDS:
        raise JobRefused(
            f"`max_epochs` of {params.max_epochs} with {epoch} batches of the {rows} common rows may come to"
            f" {params.max_epochs * epoch} rounds, and a job has {jobs.MAX_ROUNDS} at most;"
            " lower `max_epochs` or raise `batch_size`"
        )


def _open_loss(vectors: Vectors, private: PrivateKey, rows: int) -> float:
    with vectors.session.phase("loss"):
        tensor = vectors.recv_all(vectors.session.guest, EncryptedLoss, 1, vectors.loss_bits)
        (total,) = vectors.engine.decrypt(private, tensor)
        return int(total) / (1 << tensor.scale) / (2 * rows)


def _publish(session: Session, course: Course, seconds: float) -> None:
    metrics.round_latency.labels(session.spec.algorithm, session.role, "round").observe(seconds)
    metrics.loss.labels(session.job).set(course.losses[-1])
    number = len(course.losses)
    session.publish_event(Progress(number, len(course.epoch_losses), course.losses[-1], seconds), key=number)


def _state(state: dict[str, Any], course: Course, verdict: Verdict) -> dict[str, Any]:
    fields = {name: getattr(course, name) for name in Course.__slots__}
    decided = {"loss": verdict.loss, "stop": verdict.stop, "converged": verdict.converged}
    return {"primes": state["primes"], "course": fields, "verdict": decided}


def _figures(course: Course, final: Verdict) -> dict[str, Any]:
    p50, p99 = np.percentile(course.seconds, [50, 99])
    return {
        "aligned_rows": course.rows,
        "aligned_test_rows": course.test_rows,
        "rounds": len(course.losses),
        "epochs": len(course.epoch_losses),
        "converged": final.converged,
        "loss": course.losses,
        "final_loss": final.loss,
        "round_latency_seconds": {"p50": float(p50), "p99": float(p99)},
    }
