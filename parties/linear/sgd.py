"""A party's side of solver `sgd`: vertical linear regression by gradient descent on encrypted residuals.

With u the parties' scores X w, y the label, d = sum of all u - y, and [[.]] encrypted under the coordinator's key:

    1. coordinator -> all      public key
    2. host -> guest           [[u_A]] and, where there is one host, [[sum u_A^2]]
    3. guest -> hosts          [[d]] = [[u_A]] + u_B - y, obfuscated anew
    4. party -> coordinator    [[X^T d + mask]], the mask uniform over all plaintexts
       guest -> coordinator    [[loss]] = [[sum u_A^2]] + 2 [[sum u_A (u_B - y)]] + sum (u_B - y)^2
    5. coordinator -> party    X^T d + mask
       coordinator -> all      the loss, and whether it has converged

Then each party takes off its mask and steps. With several hosts the products between hosts belong to the loss; each
host then sends [[sum u_A d]] after 3, and the loss is [[sum over hosts of sum u_A d]] + [[sum (u_B - y) d]].

Source: Yang, Liu, Chen, Tong, "Federated machine learning: concept and applications", ACM TIST 10(2), 2019,
section 2.4.2 and tables 1 and 2. What each role learns: docs/explanation/sgd.md.
"""

from __future__ import annotations

import numpy as np

from fedbus.algorithms.linear.messages import MaskedGradient
from fedbus.algorithms.linear.spec import LinearJob
from fedbus.algorithms.vertical.agreed import ALIGNMENT_ROUND
from fedbus.algorithms.vertical.batching import batches
from fedbus.algorithms.vertical.messages import Verdict
from fedbus.crypto import fixedpoint
from fedbus.crypto.engine import Engine
from fedbus.crypto.paillier import PublicKey
from fedbus.crypto.tensor import CipherTensor
from fedbus.session.session import Session
from fedbus.session.vectors import Vectors
from parties.data.tables import Tables
from parties.linear.optimizer import Optimizer
from parties.policy import Policy
from parties.scores import error_metrics, regression_metrics
from parties.side import Result
from parties.vertical import align
from parties.vertical.passes import guest_pass, host_pass, open_scores, send_scores
from parties.vertical.share import Prepared, Share, prepare


def host(session: Session[LinearJob], engine: Engine, tables: Tables, policy: Policy) -> Result:
    """Play a host's part; see the module. Raises DataError, ProtocolError, CryptoError, JobRefused, JobFailed."""
    job = prepare(session, engine, align.host, tables, policy)
    work, share = _Work(session, engine, job), job.share
    while not share.stopped:
        rows = work.next_batch(share)
        penalty = work.penalty(share.weights, rows)
        gradient = host_pass(work.vectors, job.features[rows] @ share.weights, work.encoded[rows], penalty)
        share = work.step(share, gradient, rows)
        session.checkpoint(share.to_map())

    engine.prefill(work.vectors.key, 0)
    session.at(session.round + 1)
    host_pass(work.vectors, job.features @ share.weights, None, 0.0)
    session.recv(session.coordinator, Verdict)
    if job.test_features is not None:
        session.at(session.round + 1)
        send_scores(work.vectors, job.test_features @ share.weights, held_out=True)
    return Result(job.model(share, session.role), {"columns": len(job.columns)}, job.missing)


def guest(session: Session[LinearJob], engine: Engine, tables: Tables, policy: Policy) -> Result:
    """Play the guest's part; see the module. Raises DataError, ProtocolError, CryptoError, JobRefused, JobFailed."""
    job = prepare(session, engine, align.guest, tables, policy)
    work, share = _Work(session, engine, job), job.share
    while not share.stopped:
        rows = work.next_batch(share)
        penalty = work.penalty(share.weights, rows)
        offsets = job.features[rows] @ share.weights - job.label[rows]
        gradient = guest_pass(work.vectors, offsets, work.encoded[rows], penalty)
        share = work.step(share, gradient, rows)
        session.checkpoint(share.to_map())

    engine.prefill(work.vectors.key, 0)
    session.at(session.round + 1)
    guest_pass(work.vectors, job.features @ share.weights - job.label, None, 0.0)
    mse = 2 * session.recv(session.coordinator, Verdict).loss
    figures = {"columns": len(job.columns), "train": error_metrics(job.label, mse)}
    told = None
    if job.test_features is not None:
        session.at(session.round + 1)
        predicted = open_scores(work.vectors, job.test_features @ share.weights)
        figures["test"], told = regression_metrics(job.test_label, predicted), job.predictions(predicted)
    return Result(job.model(share, session.role), figures, job.missing, told)


class _Work:
    """What a party works with in every round."""

    def __init__(self, session: Session[LinearJob], engine: Engine, job: Prepared) -> None:
        params = session.spec.params
        self.session = session
        self.engine = engine
        self.vectors = Vectors(session, engine, PublicKey.from_bytes(job.share.key), job.share.score_bits)
        self.encoded = fixedpoint.encode(job.features, params.column_bits)
        self.batches = batches(len(job.features), params.batch_size)
        self.optimizer = Optimizer.create(params.optimizer, params.learning_rate, params.momentum)
        self.optimizer.restore(job.share.solver)
        self.has_intercept = session.party == session.spec.guest_party
        terms = len(job.features) * len(session.spec.participants)
        fixedpoint.check_range(terms, fixedpoint.MAX_BITS, fixedpoint.MAX_BITS, self.vectors.key.n)

    def next_batch(self, share: Share) -> slice:
        """Go to the next round of training; returns its rows."""
        self.session.at(ALIGNMENT_ROUND + share.trained + 1)
        return slice(*self.batches[share.trained % len(self.batches)])

    def penalty(self, weights: np.ndarray, rows: slice) -> float:
        """This party's ridge term in the unit of the sum of squares: rows * l2 * |w|^2."""
        penalised = self._penalised(weights)
        count: int = rows.stop - rows.start
        return count * self.session.spec.params.l2 * float(penalised @ penalised)

    def step(self, share: Share, gradient: CipherTensor | None, rows: slice) -> Share:
        """Steps 4 and 5: have the gradient opened behind a mask, take off the mask, step."""
        assert gradient is not None  # noqa: S101  # a pass with a matrix returns a gradient
        with self.session.phase("gradient"):
            opened = self.vectors.open(MaskedGradient, len(gradient), self.vectors.split(gradient))
        count = rows.stop - rows.start
        self.engine.prefill(self.vectors.key, count)
        slope = fixedpoint.decode(opened, gradient.scale) / count
        slope += self.session.spec.params.l2 * self._penalised(share.weights)
        verdict = self.session.recv(self.session.coordinator, Verdict)
        weights = self.optimizer.step(share.weights, slope)
        return share.stepped(weights, self.optimizer.state(), stop=verdict.stop)

    def _penalised(self, weights: np.ndarray) -> np.ndarray:
        """The weights that the ridge term counts: all but the intercept."""
        return np.append(weights[:-1], 0.0) if self.has_intercept else weights
