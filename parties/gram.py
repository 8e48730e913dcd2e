"""Vertical linear regression from encrypted cross products: the parties' side of solver `gram`.

With X_P the standardised columns of party P, y the standardised label, n rows, and [[.]] encrypted under the
coordinator's key, the solution of A w = b is sought, A = X^T X / n + l2 I and b = X^T y / n. The blocks of A within a
party are known to it. For each pair of parties, one, E, encrypts and the other, M, multiplies (fedbus/gram.py says
which):

    1. E -> M              [[x]] of each row, all of E's columns in the slots of one plaintext, or of several
    2. M                   [[X_E^T X_M]] by multi-exponentiation
    3. M -> coordinator    the same, every slot masked
    4. coordinator -> M    the same, cut up: encrypted anew in packs of E's columns, and of M's
    5. M -> E              [[X_E^T X_M]] in packs of M's columns, unmasked, and a host's [[X^T y]]

Then rounds of conjugate gradients on A w = b, preconditioned by each party's own block. v is the direction, r the
residual, z the preconditioned residual:

    6. party -> others     [[X_other^T X_own v_own]]
    7. party               adds up what it received and has it opened behind a uniform mask: q = A v, its own rows
    8. all -> coordinator  [[v q]], added up by the guest; the coordinator answers with the step, (r z) / (v q)
    9. all -> coordinator  [[r z]] after the step; it answers with the turn of the direction, the loss, and whether
                           to stop

A round is on as many ciphertexts as there are packs of columns; no row is touched after the pass.

Sources: conjugate gradients, Hestenes, Stiefel, J. Res. NBS 49 (1952), section 3; block Jacobi preconditioning, Saad,
"Iterative methods for sparse linear systems", 2003, section 10.2. What each role learns: docs/protocols/gram.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np

from fedbus import gram
from fedbus.crypto import fixedpoint
from fedbus.crypto.engine import Engine
from fedbus.crypto.paillier import PublicKey
from fedbus.crypto.tensor import CipherTensor
from fedbus.messages import CrossProduct, EncryptedScalars, MaskedGradient, ScalarShare, Step, Turn, Verdict
from fedbus.pooled import error_metrics, regression_metrics
from fedbus.session import Session
from fedbus.vectors import Vectors
from parties import align
from parties.cross import cross
from parties.passes import open_scores, send_scores
from parties.policy import Policy
from parties.share import PASS_ROUND, Prepared, Result, Share, prepare
from parties.tables import Tables

# A direction of a party's own block whose eigenvalue is this small a part of the largest, or no larger than rounding
# to fixed point makes it, is noise: its columns depend on each other, and any weight in it predicts the same.
_RANK_TOLERANCE = 1e-10


@dataclass(frozen=True, slots=True)
class Descent:
    """A party's part of conjugate gradients between two rounds, all of shape (columns,).

    Attributes:
        right: b.
        residual: b - A w.
        direction: v.
        blocks: the encrypted cross blocks: of each other party, a tensor's bytes for each pack.
    """

    right: np.ndarray
    residual: np.ndarray
    direction: np.ndarray
    blocks: dict[str, list[bytes]]

    def to_map(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {name: getattr(self, name) for name in self.__slots__}


def host(session: Session, engine: Engine, tables: Tables, policy: Policy) -> Result:
    """A host's part; see the module. Raises DataError, ProtocolError, CryptoError, JobRefused, JobFailed."""
    job = prepare(session, engine, align.host, tables, policy)
    work = _Work(session, engine, job)
    share = work.train()
    weights = share.weights * work.unit
    if job.test_features is not None:
        session.at(session.round + 1)
        send_scores(work.vectors, job.test_features @ weights, held_out=True)
    return Result(job.model(replace(share, weights=weights), session.role), {"columns": len(job.columns)}, job.missing)


def guest(session: Session, engine: Engine, tables: Tables, policy: Policy) -> Result:
    """The guest's part; see the module. Raises DataError, ProtocolError, CryptoError, JobRefused, JobFailed."""
    job = prepare(session, engine, align.guest, tables, policy)
    work = _Work(session, engine, job)
    share = work.train()
    figures = {"columns": len(job.columns), "train": error_metrics(job.label, 2 * work.final_loss)}
    weights, mean = share.weights * work.unit, float(np.mean(job.label))
    told = None
    if job.test_features is not None:
        session.at(session.round + 1)
        # The mean is added here: scores around it take fewer bits.
        predicted = open_scores(work.vectors, job.test_features @ weights) + mean
        figures["test"], told = regression_metrics(job.test_label, predicted), job.predictions(predicted)
    weights[-1] += mean
    return Result(job.model(replace(share, weights=weights), session.role), figures, job.missing, told)


class _Work:
    """What a party works with in every round."""

    def __init__(self, session: Session, engine: Engine, job: Prepared) -> None:
        self.session = session
        self.vectors = vectors = Vectors(session, engine, PublicKey.from_bytes(job.share.key), job.share.score_bits)
        self.share = job.share
        self.layout = gram.plan(session.linear, len(job.features), job.share.columns)
        self.unit = gram.label_unit(job.share.score_bits)
        self.is_guest = session.party == session.guest
        self.final_loss = 0.0
        rows, bits = len(job.features), self.layout.bits
        columns = job.features
        if self.is_guest:
            columns = np.column_stack([columns, (job.label - np.mean(job.label)) / self.unit])
        self.encoded = fixedpoint.encode(columns, bits)
        # The own block is of the rounded columns too: with exact ones the whole matrix might not be definite.
        rounded = np.ldexp(self.encoded.astype(np.float64), -bits)
        own = rounded[:, : job.features.shape[1]]
        self.own = own.T @ own / rows
        self.label_products = own.T @ rounded[:, -1] / rows if self.is_guest else None
        self.label_square = float(rounded[:, -1] @ rounded[:, -1]) / rows if self.is_guest else 0.0
        self.penalty = np.full(len(self.own), session.linear.params.l2)
        if self.is_guest:
            self.penalty[-1] = 0.0
        self.own[np.diag_indices_from(self.own)] += self.penalty
        least = max(_RANK_TOLERANCE, len(self.own) * 4.0**-bits)
        self.inverse = np.linalg.pinv(self.own, rcond=least, hermitian=True)
        self.key, self.engine = vectors.key, engine

    def train(self) -> Share:
        """Steps 1 to 9; returns the share, whose weights are in units of `unit`."""
        share = self.share if self.share.solver else self._begin()
        descent = Descent(**share.solver)
        while not share.stopped:
            self.session.at(PASS_ROUND + share.trained + 1)
            share, descent = self._round(share, descent)
            self.session.checkpoint(share.to_map())
        self.session.at(self.session.round + 1)
        self._finish(share, descent)
        return share

    def _begin(self) -> Share:
        """Steps 1 to 5, and the first residual, which is b: a party's gradient at weights of zero."""
        session, layout = self.session, self.layout
        session.at(PASS_ROUND)
        crossed = cross(self.vectors, layout, self.encoded)
        session.at(PASS_ROUND)
        if self.label_products is not None:
            right = self.label_products
        else:
            assert crossed.right is not None  # noqa: S101  # a host has one with the guest
            right = self._open(crossed.right, layout.sum_bits) / layout.rows
        direction = self.inverse @ right
        self._send_scalars(float(right @ direction), self.label_square)
        turn = session.recv(session.coordinator, Turn)
        blocks = {peer: [tensor.blob for tensor in packs] for peer, packs in crossed.blocks.items()}
        descent = Descent(right, right, direction, blocks)
        share = replace(self.share, solver=descent.to_map(), stopped=turn.stop, converged=turn.converged)
        session.checkpoint(share.to_map())
        return share

    def _round(self, share: Share, descent: Descent) -> tuple[Share, Descent]:
        """Steps 6 to 9."""
        session = self.session
        with session.phase("product"):
            product, direction = self._product(descent)
        self._send_scalars(float(direction @ product))
        length = session.recv(session.coordinator, Step).length
        weights = share.weights + length * direction
        residual = descent.residual - length * product
        preconditioned = self.inverse @ residual
        session.at(session.round, batch=1)
        self._send_scalars(float(residual @ preconditioned))
        turn = session.recv(session.coordinator, Turn)
        descent = replace(descent, residual=residual, direction=preconditioned + turn.factor * direction)
        share = share.stepped(weights, descent.to_map(), stop=turn.stop, converged=turn.converged)
        return share, descent

    def _product(self, descent: Descent) -> tuple[np.ndarray, np.ndarray]:
        """Steps 6 and 7: q = A v of this party's rows; and v as it was multiplied, rounded."""
        layout, vectors = self.layout, self.vectors
        encoded = fixedpoint.encode(descent.direction, gram.DIRECTION_BITS)
        for peer, packs in descent.blocks.items():
            products = CipherTensor.join(
                self.engine.matvec(self.key, encoded[:, None], self._tensor(blob), gram.DIRECTION_BITS)
                for blob in packs
            )
            products = self.engine.obfuscate(self.key, products)
            vectors.send(peer, CrossProduct, len(products), vectors.split(products))
        count = layout.slots.packs(len(encoded))
        received = [vectors.recv_all(peer, CrossProduct, count, layout.gradient_bits) for peer in descent.blocks]
        total = self._open(reduce(self.key.add, received), layout.gradient_bits) / layout.rows
        direction = fixedpoint.decode(encoded, gram.DIRECTION_BITS)
        return self.own @ direction + total, direction

    def _finish(self, share: Share, descent: Descent) -> None:
        """The loss without ridge: (y y / n - w b - w r - w l2 w) / 2, from A w = b - r."""
        weights = share.weights
        known = weights @ (descent.right + descent.residual + self.penalty * weights)
        self._send_scalars(self.label_square - float(known))
        self.final_loss = self.session.recv(self.session.coordinator, Verdict).loss

    def _open(self, tensor: CipherTensor, scale: int) -> np.ndarray:
        """Have a packed vector of this party's columns opened behind a uniform mask."""
        opened = self.vectors.open(MaskedGradient, len(tensor), self.vectors.split(tensor))
        return fixedpoint.decode(self.layout.slots.unpack(opened, len(self.own)), scale)

    def _send_scalars(self, *values: float) -> None:
        """This party's parts of sums that the coordinator learns; the guest adds them up under encryption."""
        session, vectors = self.session, self.vectors
        integers = [round(value * 2**gram.SCALAR_BITS) for value in values]
        if not self.is_guest:
            share = self.engine.encrypt(self.key, integers, gram.SCALAR_BITS)
            vectors.send(session.guest, ScalarShare, len(integers), [share])
            return
        shares = [vectors.recv_all(peer, ScalarShare, len(integers), gram.SCALAR_BITS) for peer in session.hosts]
        total = self.engine.add_plain_obfuscated(self.key, reduce(self.key.add, shares), integers)
        vectors.send(session.coordinator, EncryptedScalars, len(integers), [total])

    def _tensor(self, blob: bytes) -> CipherTensor:
        return CipherTensor(self.key.fingerprint, self.layout.sum_bits, self.key.width, blob)
