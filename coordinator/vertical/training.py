"""What the coordinator has of a vertical job, whatever trains it: its key, sizes and losses, and the report's
figures.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from coordinator.vertical import align
from fedbus import metrics
from fedbus.algorithms.vertical.agreed import ALIGNMENT_ROUND, KEY_ROUND
from fedbus.algorithms.vertical.batching import count
from fedbus.algorithms.vertical.job import VerticalJob
from fedbus.algorithms.vertical.messages import JobKey, MaskedScores, Verdict
from fedbus.crypto.engine import Engine
from fedbus.crypto.paillier import PrivateKey
from fedbus.errors import JobRefused
from fedbus.job import MAX_ROUNDS
from fedbus.messages.control import Progress
from fedbus.messages.envelope import Message
from fedbus.session.session import Session
from fedbus.session.vectors import Vectors

V = TypeVar("V", bound=VerticalJob, covariant=True)


@dataclass(slots=True)
class Training:
    """How far training has come.

    Attributes:
        rows, test_rows, columns, score_bits: as of align.CommonSizes.
        losses: of each round: of `sgd` on its batch and before its step, of `gram` after it, with the ridge term.
        products: of `gram`: rounds, checks, further passes and rounds of probes, in all.
        probed: of `gram`: rounds of probes.
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
    products: int = 0
    probed: int = 0

    def figures(self, last: Verdict) -> dict[str, Any]:
        """Return what the report says of training."""
        p50, p99 = np.percentile(self.seconds, [50, 99]) if self.seconds else (0.0, 0.0)
        return {
            "aligned_rows": self.rows,
            "aligned_test_rows": self.test_rows,
            "rounds": len(self.losses),
            "epochs": len(self.epoch_losses),
            "probe_rounds": self.probed,
            "converged": last.converged,
            "loss": [loss if math.isfinite(loss) else None for loss in self.losses],
            "final_loss": last.loss,
            "round_latency_seconds": {"p50": float(p50), "p99": float(p99)},
        }


@dataclass(slots=True)
class CoordinatorWork(Generic[V]):
    """What the coordinator works with in every round.

    Attributes:
        solver: what the algorithm keeps between rounds; empty before its first.
        verdict: of the last round.
    """

    session: Session[V]
    private: PrivateKey
    vectors: Vectors
    training: Training
    verdict: Verdict
    solver: dict[str, Any]

    def checkpoint(self) -> None:
        """Make the end of a round durable."""
        fields = {name: getattr(self.training, name) for name in Training.__slots__}
        decided = {"loss": self.verdict.loss, "stop": self.verdict.stop, "converged": self.verdict.converged}
        state = {"training": fields, "verdict": decided, "solver": self.solver}
        self.session.checkpoint({"primes": _primes(self.private), **state})

    def publish(self, seconds: float) -> None:
        """Tell all who watch that a round is done."""
        session, training = self.session, self.training
        training.seconds.append(seconds)
        metrics.round_latency.labels(session.spec.algorithm, session.role, "round").observe(seconds)
        metrics.loss.labels(session.job).set(training.losses[-1])
        number = len(training.losses)
        session.publish_event(Progress(number, len(training.epoch_losses), training.losses[-1], seconds), key=number)

    def tell(self, message: Message) -> None:
        """Send a message to all parties."""
        for party in self.session.spec.parties:
            self.session.send(party, message)

    @contextlib.contextmanager
    def reporting(self, figures: dict[str, Any]) -> Iterator[None]:
        """Enter in `figures` what the report says of training, however the `with` block ends."""
        try:
            yield
        finally:
            figures.update(self.training.figures(self.verdict))

    def end(self, loss: float) -> None:
        """Tell the parties the final loss, and open the scores of held-out rows."""
        self.verdict = Verdict(loss, stop=True, converged=self.verdict.converged)
        self.tell(self.verdict)
        if self.training.test_rows:
            self.session.at(self.session.round + 1)
            vectors, rows = self.vectors, self.training.test_rows
            vectors.serve(self.session.spec.guest_party, MaskedScores, self.private, rows, vectors.score_bits)


def begin(session: Session[V], engine: Engine) -> CoordinatorWork[V]:
    """Make the job's key and have the parties align, or take both up again after a restart.

    Raises:
        JobRefused: more rounds may be needed than a report can hold.
        ProtocolError: the parties differ in what they have in common.
    """
    state = session.restore() or _make_key(session, engine)
    private = PrivateKey.from_primes(*(int.from_bytes(prime, "big") for prime in state["primes"]))
    if "training" in state:
        training, verdict, solver = Training(**state["training"]), Verdict(**state["verdict"]), state["solver"]
        vectors = Vectors(session, engine, private.public, training.score_bits)
        return CoordinatorWork(session, private, vectors, training, verdict, solver)
    session.at(ALIGNMENT_ROUND)
    sizes = align.coordinate(session)
    check_rounds(sizes.rows, session.spec)
    for party in session.spec.parties:
        session.send(party, JobKey(private.public.to_bytes(), sizes.columns, sizes.score_bits))
    training = Training(sizes.rows, sizes.test_rows, sizes.columns, sizes.score_bits)
    vectors = Vectors(session, engine, private.public, training.score_bits)
    work = CoordinatorWork(session, private, vectors, training, Verdict(0.0, stop=False, converged=False), {})
    work.checkpoint()
    return work


def check_rounds(rows: int, spec: VerticalJob) -> None:
    """Refuse a job whose report might not fit a message; raise JobRefused, which names the settings."""
    epoch, (most, _) = count(rows, spec.batch_size), spec.length
    if most * epoch > MAX_ROUNDS:
        raise JobRefused(
            f"`max_epochs` of {most} with {epoch} batches of the {rows} common rows may come to"
            f" {most * epoch} rounds, and a job has {MAX_ROUNDS} at most;"
            " lower `max_epochs` or raise `batch_size`"
        )


def _make_key(session: Session[VerticalJob], engine: Engine) -> dict[str, Any]:
    # The key is durable before anybody hears of it: a restarted coordinator must not hand out another one.
    session.at(KEY_ROUND)
    state = {"primes": _primes(engine.generate_keypair(session.spec.key_bits))}
    session.checkpoint(state)
    return state


def _primes(private: PrivateKey) -> list[bytes]:
    return [int(prime).to_bytes(prime.bit_length(), "big") for prime in (private.p, private.q)]
