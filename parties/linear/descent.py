"""A party's part of solver `gram` between its beginning and its end: passes, rounds, checks and probes.

The steps are those of parties/linear/gram.py, whose docstring holds the protocol.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import structlog

from fedbus.algorithms.linear.layout import (
    PASS_ROUND,
    SCALAR_BITS,
    Layout,
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
    CrossProduct,
    EncryptedScalars,
    MaskedGradient,
    ScalarShare,
    Step,
    Turn,
)
from fedbus.algorithms.linear.spec import LinearJob
from fedbus.algorithms.vertical.messages import Verdict
from fedbus.crypto import fixedpoint
from fedbus.crypto.engine import Engine
from fedbus.crypto.paillier import PublicKey
from fedbus.crypto.tensor import CipherTensor
from fedbus.errors import FixedPointOverflow, JobFailed, ProtocolError
from fedbus.session.session import Session
from fedbus.session.vectors import Vectors
from parties.linear.basis import Basis
from parties.linear.cross import cross
from parties.linear.exact import Products
from parties.linear.measure import measure
from parties.linear.turns import Descent, check_rounds
from parties.vertical.share import Prepared, Share

log = structlog.get_logger()

# Of the norm of a direction along which columns hardly vary: one with less has no part in it.
_LEAST_PART = 1e-3


class PartyWork:
    """What a party works with in every round."""

    def __init__(self, session: Session[LinearJob], engine: Engine, job: Prepared) -> None:
        self.session = session
        self.vectors = vectors = Vectors(session, engine, PublicKey.from_bytes(job.share.key), job.share.score_bits)
        self.share, self.job = job.share, job
        self.unit = label_unit(job.share.score_bits)
        self.is_guest = session.party == session.spec.guest_party
        self.key, self.engine = vectors.key, engine
        least_norm = self._layout(None).least_norm
        self.basis = Basis.of(job.features, job.columns, l2=session.spec.params.l2, least_norm=least_norm)
        self._round_columns(job.share.solver.get("bits"))

    def _layout(self, bits: int | None) -> Layout:
        return lay_out(self.session.spec, len(self.job.features), self.share.columns, bits)

    def _round_columns(self, bits: int | None) -> None:
        """Round the columns to so many fraction bits; None is what the job says."""
        job, self.layout = self.job, self._layout(bits)
        layout = self.layout
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

    def train(self) -> Share:
        """Do steps 1 to 9. Return the share, whose weights are of the basis, in units of `unit`."""
        share = self.share if self.share.solver else self._begin()
        descent = Descent(**share.solver)
        if descent.columns != self._digest():
            # Of directions of equal length any basis will do, and linear algebra chooses another one elsewhere.
            raise JobFailed(
                f"{self.session.party} comes to another basis of its columns than before its restart, as another"
                " processor or another numpy does; start it where the job began, or submit the job again"
            )
        while not share.stopped:
            check_rounds(share.trained, self.session.coordinator, self.session.spec.params)
            self.session.at(PASS_ROUND + share.trained + 1)
            counts = descent.then == DIRECTION
            if descent.then == PASS:
                weights, descent = share.weights, self._pass()
            else:
                weights, descent = self._round(share.weights, descent)
            share = share.stepped(weights, descent.to_map(), stop=descent.then == STOP, counts=counts)
            self.session.checkpoint(share.to_map())
        self.share = share
        return share

    def _digest(self) -> bytes:
        return hashlib.blake2b(self.encoded.tobytes(), digest_size=16).digest()

    def weights(self, share: Share) -> np.ndarray:
        """Return the weights of the standardised columns, in the label's own unit."""
        found: np.ndarray = self.basis.transform @ share.weights * self.unit
        return found

    @property
    def alike(self) -> list[str]:
        """The party's columns that agree with those of others, or add up to them, as a probe has found; by name."""
        kept = Descent(**self.share.solver).kept
        # Near the norm of the whole direction: what this party has of it may be no more than rounding.
        if not np.any(np.abs(kept) > _LEAST_PART):
            return []
        parts = np.abs(self.basis.transform @ kept)[: len(self.job.columns)]
        least = _LEAST_PART * max(1.0, parts.max())
        return [name for name, part in zip(self.job.columns, parts, strict=True) if part > least]

    def model(self, share: Share) -> dict[str, Any]:
        """Return the model, for the store."""
        return self.job.model(share, self.session.role, self.basis.dependent, self.alike)

    def measured(self, parts: np.ndarray) -> float:
        """Take part in measuring half of the mean squared error on the rows, of which `parts` is this party's part."""
        self.session.at(self.session.round + 1)
        bits = measured_bits(Descent(**self.share.solver).exponent, self.layout.rows)
        measure(self.vectors, self.layout, parts / self.unit, bits)
        return self.session.recv(self.session.coordinator, Verdict).loss

    def figures(self) -> dict[str, Any]:
        """Return figures for the report; which columns they are about only this party's own log says."""
        for column, others in self.basis.dependent.items():
            log.warning(
                "a column follows from others, and any weight of it predicts the same", job=self.session.job,
                column=column, others=others,
            )  # fmt: skip
        if self.alike:
            log.warning(
                "columns agree with, or add up to, columns of other parties", job=self.session.job, columns=self.alike
            )
        count = len(self.basis.transform) - self.is_guest
        return {"columns": count, "dependent": self.basis.cut, "alike": len(self.alike)}

    def _begin(self) -> Share:
        self.session.at(PASS_ROUND)
        descent = self._pass()
        share = replace(self.share, solver=descent.to_map(), stopped=descent.then == STOP)
        self.session.checkpoint(share.to_map())
        return share

    def _pass(self) -> Descent:
        """Steps 1 to 5, and the first residual, which is b: a party's gradient at weights of zero."""
        session, layout = self.session, self.layout
        crossed = cross(self.vectors, layout, self.encoded)
        if self.label_row is not None:
            right, square = self.label_row[:-1], float(self.label_row[-1])
        else:
            assert crossed.right is not None  # noqa: S101  # a host has one with the guest
            right, square = fixedpoint.decode(self._open(crossed.right), layout.sum_bits) / layout.rows, 0.0
        preconditioned = self._precondition(right)
        self._send_scalars(float(right @ preconditioned), square)
        turn = session.recv(session.coordinator, Turn)
        blocks = {peer: [tensor.blob for tensor in packs] for peer, packs in crossed.blocks.items()}
        nothing = np.zeros(0)
        descent = Descent(right, right, np.zeros_like(right), 0, PASS, layout.bits, nothing, self._digest(), blocks)
        return self._follow(descent, turn, preconditioned)

    def _round(self, weights: np.ndarray, descent: Descent) -> tuple[np.ndarray, Descent]:
        """Steps 6 to 9, or a check, or a round of a probe, which leaves the weights as they are."""
        session, is_check = self.session, descent.then == CHECK
        with session.phase("product"):
            factor, product, curvature = self._product(descent, weights if is_check else descent.direction)
        if is_check:
            weights, residual = factor, descent.right - product
        else:
            self._send_scalars(curvature)
            step = session.recv(session.coordinator, Step)
            residual = descent.residual - step.length * product
            if descent.then != PROBE:
                weights = weights + step.length * factor
            elif step.keep:
                descent = replace(descent, kept=np.ldexp(factor, -descent.exponent))
        preconditioned = self._precondition(residual)
        told = [float(residual @ preconditioned)]
        if is_check:
            # The objective, twice, and the ridge term in it.
            square = float(self.label_row[-1]) if self.label_row is not None else 0.0
            ridge = float(self.basis.penalty @ weights**2)
            told += [square - float(weights @ (descent.right + residual)), ridge]
        with session.batch(1):
            self._send_scalars(*told)
            turn = session.recv(session.coordinator, Turn)
        return weights, self._follow(replace(descent, residual=residual), turn, preconditioned)

    def _follow(self, descent: Descent, turn: Turn, preconditioned: np.ndarray) -> Descent:
        """What the coordinator says of the next round; a probe begins with a residual that nobody else knows."""
        session = self.session
        descent.check(turn, session.coordinator, self.layout, session.spec.params)
        if turn.then == PASS:
            # Rounded at once, so that a restart before the pass notices another basis, which weights mean nothing in.
            self._round_columns(turn.bits)
            return replace(descent.turned(turn, preconditioned), columns=self._digest())
        if turn.then != PROBE or descent.then == PROBE:
            return descent.turned(turn, preconditioned)
        with session.batch(2):
            drawn = np.array(session.random("probe").residues(1 << 53, len(descent.right))) * 2.0**-52 - 1
            # Nothing is looked for in a direction in which this party's own columns do not vary.
            residual = drawn * self.basis.transform.any(axis=0) * np.sqrt(1.0 + self.basis.penalty)
            preconditioned = self._precondition(residual)
            self._send_scalars(float(residual @ preconditioned))
            turn = session.recv(session.coordinator, Turn)
        if turn.then != PROBE:
            raise ProtocolError(f"{session.coordinator} asks for {turn.then} where a probe begins")
        begun = replace(descent, residual=residual, direction=np.zeros_like(residual))
        return begun.turned(turn, preconditioned)

    def _product(self, descent: Descent, factor: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Steps 6 and 7: `factor` as it was multiplied, rounded; this party's rows of A times it; its part of v A v."""
        layout, vectors, bits = self.layout, self.vectors, self.layout.direction_bits
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
        shift = SCALAR_BITS + 2 * descent.exponent - bits - layout.gradient_bits
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
            share = self.engine.encrypt(self.key, integers, SCALAR_BITS)
            vectors.send(session.spec.guest_party, ScalarShare, len(integers), [share])
            return
        shares = [vectors.recv_all(peer, ScalarShare, len(integers), SCALAR_BITS) for peer in session.spec.host_parties]
        total = self.engine.add_plain_obfuscated(self.key, reduce(self.key.add, shares), integers)
        vectors.send(session.coordinator, EncryptedScalars, len(integers), [total])

    def _tensor(self, blob: bytes) -> CipherTensor:
        return CipherTensor(self.key.fingerprint, self.layout.sum_bits, self.key.width, blob)


def _scalar(value: float) -> int:
    return int(np.ldexp(value, SCALAR_BITS))
