"""Vertical linear regression from encrypted cross products: the parties' side of solver `gram`.

With X_P an orthogonal basis of the standardised columns of party P (parties/basis.py), y the label around its mean in a
unit near its deviation, n rows, and [[.]] encrypted under the coordinator's key, the solution of A w = b is sought,
A = X^T X / n + ridge and b = X^T y / n. The blocks of A within a party are known to it. For each pair of parties, one,
E, encrypts and the other, M, multiplies (fedbus/gram.py says which):

    1. E -> M              [[x]] of each row, all of E's columns in the slots of one plaintext, or of several
    2. M                   [[X_E^T X_M]] by multi-exponentiation
    3. M -> coordinator    the same, every slot masked
    4. coordinator -> M    the same, cut up: encrypted anew in packs of E's columns, and of M's
    5. M -> E              [[X_E^T X_M]] in packs of M's columns, unmasked, and a host's [[X^T y]]

Then rounds of conjugate gradients on A w = b, preconditioned by the diagonal 1 / (1 + ridge). v is the direction, r the
residual, z the preconditioned residual:

    6. party -> others     [[X_other^T X_own v_own]]
    7. party               adds up what it received and has it opened behind a uniform mask: q = A v, its own rows
    8. all -> coordinator  [[v q]], added up by the guest; the coordinator answers with the step, (r z) / (v q)
    9. all -> coordinator  [[r z]] after the step; it answers with the turn of the direction, the loss, and whether
                           to check

A check is a round in which the weights take the place of the direction: it gives r = b - A w anew, and the coordinator
says whether to go on from there. A round is on as many ciphertexts as there are packs of columns. At the end the error
of the weights that are kept is measured on the rows (parties/measure.py).

Sources: conjugate gradients, Hestenes, Stiefel, J. Res. NBS 49 (1952), section 3; residuals computed anew, van der
Vorst, Ye, SIAM J. Sci. Comput. 22 (2000). What each role learns: docs/protocols/gram.md.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import structlog

from fedbus import gram
from fedbus.crypto import fixedpoint
from fedbus.crypto.engine import Engine
from fedbus.crypto.paillier import PublicKey
from fedbus.crypto.tensor import CipherTensor
from fedbus.errors import FixedPointOverflow, JobFailed, ProtocolError
from fedbus.messages import CrossProduct, EncryptedScalars, MaskedGradient, ScalarShare, Step, Turn, Verdict
from fedbus.pooled import error_metrics, regression_metrics
from fedbus.session import Session
from fedbus.vectors import Vectors
from parties import align
from parties.basis import Basis
from parties.cross import cross
from parties.exact import Products
from parties.measure import measure
from parties.passes import open_scores, send_scores
from parties.policy import Policy
from parties.share import PASS_ROUND, Prepared, Result, Share, prepare
from parties.tables import Tables

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Descent:
    """A party's part of conjugate gradients between two rounds, vectors of shape (columns,).

    Attributes:
        right: b.
        residual: b - A w.
        direction: v.
        exponent: of the power of two in whose units the next product is taken.
        check: the next product is that of the weights.
        columns: a digest of the columns that were multiplied.
        blocks: the encrypted cross blocks: of each other party, a tensor's bytes for each pack.
    """

    right: np.ndarray
    residual: np.ndarray
    direction: np.ndarray
    exponent: int
    check: bool
    columns: bytes
    blocks: dict[str, list[bytes]]

    def to_map(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {name: getattr(self, name) for name in self.__slots__}

    def turned(self, turn: Turn, preconditioned: np.ndarray) -> Descent:
        """What the coordinator says of the next round."""
        direction = preconditioned + turn.factor * self.direction
        return replace(self, direction=direction, exponent=turn.exponent, check=turn.anew)


def host(session: Session, engine: Engine, tables: Tables, policy: Policy) -> Result:
    """A host's part; see the module. Raises DataError, ProtocolError, CryptoError, JobRefused, JobFailed."""
    job = prepare(session, engine, align.host, tables, policy)
    work = _Work(session, engine, job)
    share = work.train()
    weights = work.weights(share)
    work.measured(job.features @ weights)
    if job.test_features is not None:
        session.at(session.round + 1)
        send_scores(work.vectors, job.test_features @ weights, held_out=True)
    model = job.model(replace(share, weights=weights), session.role, work.basis.dependent)
    return Result(model, work.figures(), job.missing)


def guest(session: Session, engine: Engine, tables: Tables, policy: Policy) -> Result:
    """The guest's part; see the module. Raises DataError, ProtocolError, CryptoError, JobRefused, JobFailed."""
    job = prepare(session, engine, align.guest, tables, policy)
    work = _Work(session, engine, job)
    share = work.train()
    weights, mean = work.weights(share), float(np.mean(job.label))
    loss = work.measured(job.features @ weights - (job.label - mean))
    figures = {**work.figures(), "train": error_metrics(job.label, 2 * loss)}
    told = None
    if job.test_features is not None:
        session.at(session.round + 1)
        # The mean is added here: scores around it take fewer bits.
        predicted = open_scores(work.vectors, job.test_features @ weights) + mean
        figures["test"], told = regression_metrics(job.test_label, predicted), job.predictions(predicted)
    weights[-1] += mean
    model = job.model(replace(share, weights=weights), session.role, work.basis.dependent)
    return Result(model, figures, job.missing, told)


class _Work:
    """What a party works with in every round."""

    def __init__(self, session: Session, engine: Engine, job: Prepared) -> None:
        self.session = session
        self.vectors = vectors = Vectors(session, engine, PublicKey.from_bytes(job.share.key), job.share.score_bits)
        self.share = job.share
        self.layout = layout = gram.plan(session.linear, len(job.features), job.share.columns)
        self.unit = gram.label_unit(job.share.score_bits)
        self.is_guest = session.party == session.guest
        l2 = session.linear.params.l2
        self.basis = Basis.of(job.features, job.columns, l2=l2, least_norm=layout.least_norm)
        columns = job.features @ self.basis.transform
        if self.is_guest:
            columns = np.column_stack([columns, (job.label - np.mean(job.label)) / self.unit])
        self.encoded = fixedpoint.encode(columns, layout.bits)
        # What keeps sums within their slots, whatever the other parties' columns are.
        if not (np.square(self.encoded, dtype=np.float64).sum(axis=0) < 2.0 * layout.rows * 4.0**layout.bits).all():
            raise FixedPointOverflow("a column is longer than a standardised one")
        # The own block is of the rounded columns too, exactly: with others the whole matrix might not be definite.
        products = Products.of(self.encoded)
        count = job.features.shape[1]
        self.own = products.part(count)
        self.label_row = (
            fixedpoint.decode(products.row(count), layout.sum_bits) / layout.rows if self.is_guest else None
        )
        self.key, self.engine = vectors.key, engine

    def train(self) -> Share:
        """Steps 1 to 9; returns the share, whose weights are of the basis, in units of `unit`."""
        share = self.share if self.share.solver else self._begin()
        descent = Descent(**share.solver)
        if descent.columns != self._digest():
            # Of directions of equal length any basis will do, and linear algebra chooses another one elsewhere.
            raise JobFailed(
                f"{self.session.party} comes to another basis of its columns than before its restart, as another"
                " processor or another numpy does; start it where the job began, or submit the job again"
            )
        while not share.stopped:
            self.session.at(PASS_ROUND + share.trained + 1)
            share, descent = self._round(share, descent)
            self.session.checkpoint(share.to_map())
        return share

    def _digest(self) -> bytes:
        return hashlib.blake2b(self.encoded.tobytes(), digest_size=16).digest()

    def weights(self, share: Share) -> np.ndarray:
        """Of the standardised columns, in the label's own unit."""
        found: np.ndarray = self.basis.transform @ share.weights * self.unit
        return found

    def measured(self, parts: np.ndarray) -> float:
        """Half of the mean squared error on the rows, of which `parts` is this party's part."""
        self.session.at(self.session.round + 1)
        measure(self.vectors, self.layout, parts / self.unit)
        return self.session.recv(self.session.coordinator, Verdict).loss

    def figures(self) -> dict[str, Any]:
        """For the report; whose columns they are only this party's own log says."""
        for column, others in self.basis.dependent.items():
            log.warning(
                "a column follows from others, and any weight of it predicts the same", job=self.session.job,
                column=column, others=others,
            )  # fmt: skip
        return {"columns": len(self.basis.transform) - self.is_guest, "dependent": self.basis.cut}

    def _begin(self) -> Share:
        """Steps 1 to 5, and the first residual, which is b: a party's gradient at weights of zero."""
        session, layout = self.session, self.layout
        session.at(PASS_ROUND)
        crossed = cross(self.vectors, layout, self.encoded)
        session.at(PASS_ROUND)
        if self.label_row is not None:
            right, square = self.label_row[:-1], float(self.label_row[-1])
        else:
            assert crossed.right is not None  # noqa: S101  # a host has one with the guest
            right, square = fixedpoint.decode(self._open(crossed.right), layout.sum_bits) / layout.rows, 0.0
        preconditioned = self._precondition(right)
        self._send_scalars(float(right @ preconditioned), square)
        turn = session.recv(session.coordinator, Turn)
        blocks = {peer: [tensor.blob for tensor in packs] for peer, packs in crossed.blocks.items()}
        descent = Descent(right, right, np.zeros_like(right), 0, check=False, columns=self._digest(), blocks=blocks)
        descent = descent.turned(turn, preconditioned)
        share = replace(self.share, solver=descent.to_map(), stopped=turn.stop, converged=turn.converged)
        session.checkpoint(share.to_map())
        return share

    def _round(self, share: Share, descent: Descent) -> tuple[Share, Descent]:
        """Steps 6 to 9, or a check."""
        session = self.session
        with session.phase("product"):
            factor, product, curvature = self._product(descent, share.weights if descent.check else descent.direction)
        if descent.check:
            weights, residual = factor, descent.right - product
        else:
            self._send_scalars(curvature)
            length = session.recv(session.coordinator, Step).length
            weights, residual = share.weights + length * factor, descent.residual - length * product
        preconditioned = self._precondition(residual)
        session.at(session.round, batch=1)
        gain = float(residual @ preconditioned)
        if descent.check:
            # The objective, twice, and the ridge term in it.
            square = float(self.label_row[-1]) if self.label_row is not None else 0.0
            ridge = float(self.basis.penalty @ weights**2)
            self._send_scalars(gain, square - float(weights @ (descent.right + residual)), ridge)
        else:
            self._send_scalars(gain)
        turn = session.recv(session.coordinator, Turn)
        descent = replace(descent, residual=residual).turned(turn, preconditioned)
        share = share.stepped(weights, descent.to_map(), stop=turn.stop, converged=turn.converged)
        return share, descent

    def _product(self, descent: Descent, factor: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Steps 6 and 7: `factor` as it was multiplied, rounded; this party's rows of A times it; its part of v A v."""
        layout, vectors, bits = self.layout, self.vectors, gram.DIRECTION_BITS
        encoded = fixedpoint.encode(np.ldexp(factor, -descent.exponent), bits)
        if np.abs(encoded).max() > 1 << bits:
            raise ProtocolError(f"{self.session.coordinator} named a unit that is too small for the direction")
        for peer, packs in descent.blocks.items():
            products = CipherTensor.join(
                self.engine.matvec(self.key, encoded[:, None], self._tensor(blob), bits) for blob in packs
            )
            products = self.engine.obfuscate(self.key, products)
            vectors.send(peer, CrossProduct, len(products), vectors.split(products))
        count = layout.slots.packs(len(encoded))
        received = [vectors.recv_all(peer, CrossProduct, count, layout.gradient_bits) for peer in descent.blocks]
        opened = self._open(reduce(self.key.add, received))
        sums = [own + others for own, others in zip(self.own.times(encoded), opened, strict=True)]
        rounded = np.ldexp(fixedpoint.decode(encoded, bits), descent.exponent)
        product = np.ldexp(fixedpoint.decode(sums, layout.gradient_bits) / layout.rows, descent.exponent)
        # Whole numbers to the end: where columns depend on each other, the parties' parts cancel each other.
        curvature = sum(int(one) * two for one, two in zip(encoded, sums, strict=True)) // layout.rows
        shift = gram.SCALAR_BITS + 2 * descent.exponent - bits - layout.gradient_bits
        curvature = curvature << shift if shift >= 0 else curvature >> -shift
        return rounded, product + self.basis.penalty * rounded, curvature + _scalar(self.basis.penalty @ rounded**2)

    def _precondition(self, residual: np.ndarray) -> np.ndarray:
        preconditioned: np.ndarray = residual / (1.0 + self.basis.penalty)
        return preconditioned

    def _open(self, tensor: CipherTensor) -> list[int]:
        """Have a packed vector of this party's columns opened behind a uniform mask."""
        opened = self.vectors.open(MaskedGradient, len(tensor), self.vectors.split(tensor))
        return self.layout.slots.unpack(opened, len(self.basis.transform))

    def _send_scalars(self, *values: float) -> None:
        """This party's parts of sums that the coordinator learns; the guest adds them up under encryption.

        Args:
            values: numbers, or integers that have SCALAR_BITS fraction bits already.
        """
        session, vectors = self.session, self.vectors
        integers = [value if isinstance(value, int) else _scalar(value) for value in values]
        if not self.is_guest:
            share = self.engine.encrypt(self.key, integers, gram.SCALAR_BITS)
            vectors.send(session.guest, ScalarShare, len(integers), [share])
            return
        shares = [vectors.recv_all(peer, ScalarShare, len(integers), gram.SCALAR_BITS) for peer in session.hosts]
        total = self.engine.add_plain_obfuscated(self.key, reduce(self.key.add, shares), integers)
        vectors.send(session.coordinator, EncryptedScalars, len(integers), [total])

    def _tensor(self, blob: bytes) -> CipherTensor:
        return CipherTensor(self.key.fingerprint, self.layout.sum_bits, self.key.width, blob)


def _scalar(value: float) -> int:
    return int(np.ldexp(value, gram.SCALAR_BITS))
