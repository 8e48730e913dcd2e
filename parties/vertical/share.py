"""A party's share of a vertical model is what it trains, checkpoints, and keeps to predict with."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import structlog

from fedbus import codec
from fedbus.algorithms.vertical.agreed import ALIGNMENT_ROUND, LABEL_BITS
from fedbus.algorithms.vertical.batching import batches
from fedbus.algorithms.vertical.job import VerticalJob
from fedbus.algorithms.vertical.messages import Aligned, JobKey
from fedbus.crypto import fixedpoint
from fedbus.crypto.engine import Engine
from fedbus.crypto.paillier import PublicKey
from fedbus.errors import DataError, ProtocolError, WrongKey
from fedbus.session.session import Session
from parties.data import ids
from parties.data.gaps import Gaps
from parties.data.recoding import Recoding
from parties.data.table import Scaling, Table
from parties.data.tables import Tables
from parties.outputs import Predictions
from parties.policy import Policy
from parties.vertical import consent

log = structlog.get_logger()

Align = Callable[[Session[VerticalJob], Engine, Sequence[str]], np.ndarray]

# Of the bits of a score these lie above the label's root mean square: 12 hold any one of 10 million labels, the rest
# scores that overshoot. Below it remain 42 bits; as many keep the loss exact to 1e-9.
_HEADROOM_BITS = fixedpoint.MAX_BITS - LABEL_BITS
_MOST_SCORE_BITS = 60
# Of a label that is trained around its mean: below it the unit that these bits allow is too coarse.
_LEAST_DEVIATION = 1e-7


@dataclass(frozen=True, slots=True)
class Share:
    """A party's state between two rounds of training.

    Attributes:
        key: the job's public key.
        score_bits: fraction bits of scores.
        columns: that each party trains, the guest's with the intercept.
        digest: of the aligned rows, so that a restart notices a file that was changed meanwhile.
        test_digest: of the held-out rows, empty without.
        positions: of the aligned rows in the party's own table, (rows,); the same for test_positions.
        weights: (columns,) of standardised columns, at the guest with the intercept as the last one.
        solver: the state of the optimiser, or of conjugate gradients.
        trained: steps of training done: rounds, and with solver `gram` checks, probes and further passes.
        extra: of these, those that are no rounds.
        stopped: training has ended.
    """

    key: bytes
    score_bits: int
    columns: dict[str, int]
    digest: bytes
    test_digest: bytes
    positions: np.ndarray
    test_positions: np.ndarray | None
    weights: np.ndarray
    solver: dict[str, Any] = field(default_factory=dict)
    trained: int = 0
    extra: int = 0
    stopped: bool = False

    def to_map(self) -> dict[str, Any]:
        """Return the state as a map, for a checkpoint."""
        return {name: getattr(self, name) for name in self.__slots__}

    def stepped(self, weights: np.ndarray, solver: dict[str, Any], *, stop: bool, counts: bool = True) -> Share:
        """Return the share after one more step, which counts as a round of training or not."""
        extra, done = self.extra + (not counts), self.trained + 1
        return replace(self, weights=weights, solver=solver, trained=done, extra=extra, stopped=stop)

    @property
    def rounds(self) -> int:
        """The rounds of training, as the report counts them."""
        return self.trained - self.extra


@dataclass(frozen=True, slots=True)
class Prepared:
    """Aligned and standardised rows, with the share that is trained on them.

    Attributes:
        features: (rows, columns) float64; at the guest with a last column of ones for the intercept.
        label: (rows,) float64 at the guest, empty at a host.
        test_features, test_label: the same for held-out rows, standardised as the training rows are.
        test_ids: of the held-out rows, for the guest's own file of predictions.
        recoding: what was made of the table's columns.
        missing: cells that were filled, and levels that training rows lack.
    """

    share: Share
    columns: tuple[str, ...]
    scaling: Scaling
    features: np.ndarray
    label: np.ndarray
    test_features: np.ndarray | None
    test_label: np.ndarray
    test_ids: Sequence[str]
    recoding: Recoding
    missing: Gaps

    def predictions(self, predicted: np.ndarray) -> Predictions:
        """The guest's predictions of held-out rows, for a file of its own."""
        return Predictions(self.test_ids, self.test_label, predicted)

    def model(
        self, share: Share, role: str, dependent: dict[str, list[str]] | None = None, alike: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Return what is needed to predict with a trained share, for the store.

        Args:
            dependent: columns that follow from others, where that is known.
            alike: columns that agree with those of other parties, where that is known.
        """
        return {
            "columns": list(self.columns),
            "mean": self.scaling.mean,
            "scale": self.scaling.scale,
            "weights": share.weights[: len(self.columns)],
            "intercept": float(share.weights[-1]) if role == "guest" else None,
            "rounds": share.rounds,
            "dependent": dependent or {},
            "alike": list(alike),
            "recoding": self.recoding.to_map(),
        }


def prepare(session: Session[VerticalJob], engine: Engine, align: Align, tables: Tables, policy: Policy) -> Prepared:
    """Align the tables and standardise their columns, or take both up again after a restart.

    Raises:
        JobRefused: fewer common rows, or rows in a batch, than the policy allows.
        ProtocolError, WrongKey: the coordinator hands out another key or other sizes than agreed.
        DataError: a constant column, or a file that was changed since the job began.
    """
    state = session.restore()
    share = _begin(session, engine, align, tables, policy) if state is None else Share(**state)
    intercept = session.party == session.spec.guest_party
    train = _unchanged(tables.train, share.positions, share.digest, tables.fit)
    test = None
    if tables.test is not None and share.test_positions is not None:
        test = _unchanged(tables.test, share.test_positions, share.test_digest)
    recoding = tables.fit(train)
    missing = Gaps.of(train, test, recoding)
    train, test = recoding.apply(train), None if test is None else recoding.apply(test)
    scaling = Scaling.fit(train)
    prepared = Prepared(
        share=share,
        columns=train.columns,
        scaling=scaling,
        features=_design(scaling.apply(train.features), intercept=intercept),
        label=_label(train),
        test_features=None if test is None else _design(scaling.apply(test.features), intercept=intercept),
        test_label=_label(test),
        test_ids=() if test is None else test.ids,
        recoding=recoding,
        missing=missing,
    )
    if state is None:
        session.checkpoint(share.to_map())
    return prepared


def _begin(session: Session[VerticalJob], engine: Engine, align: Align, tables: Tables, policy: Policy) -> Share:
    spec = session.spec
    session.at(ALIGNMENT_ROUND)
    # Of the other tables nothing is known here: operators who miss rows compare what their logs say.
    log.info("ids", job=session.job, file=tables.train.name, form=ids.forms(tables.train.ids))
    positions = align(session, engine, tables.train.ids)
    if 2 * len(positions) < len(tables.train):
        log.warning(
            "few rows are in common: are ids written alike at all parties?",
            job=session.job,
            common=len(positions),
            rows=len(tables.train),
            form=ids.forms(tables.train.ids),
        )
    consent.check_alignment(policy, len(positions))
    test_positions, test_digest = None, b""
    if tables.test is not None:
        with session.batch(1):
            test_positions = align(session, engine, tables.test.ids)
        consent.check_alignment(policy, len(test_positions), "held-out rows")
        test_digest = _digest(tables.test.take(test_positions))
    train = tables.train.take(positions)
    columns = len(tables.fit(train).columns) + (session.party == session.spec.guest_party)
    own_bits = 0
    if train.label is not None:
        around = train.label.mean() if spec.centred else 0.0
        deviations = train.label - around
        if spec.centred and 0 < np.abs(deviations).max() < _LEAST_DEVIATION:
            raise DataError(f"{train.name}: the label varies by less than {_LEAST_DEVIATION:.0e}; change its unit")
        own_bits = score_bits(deviations)
    held_out = 0 if test_positions is None else len(test_positions)
    session.send(session.coordinator, Aligned(len(positions), held_out, columns, own_bits))
    given = session.recv(session.coordinator, JobKey)
    bits = PublicKey.from_bytes(given.key).bits
    if bits != spec.key_bits:
        raise WrongKey(f"{session.coordinator} handed out a key of {bits} bits, not of params.key_bits")
    if set(given.columns) != set(session.spec.parties) or given.columns[session.party] != columns:
        raise ProtocolError(f"{session.coordinator} named other columns than those of the parties")
    if given.score_bits != own_bits and (train.label is not None or not 0 <= given.score_bits <= fixedpoint.MAX_BITS):
        raise ProtocolError(f"{session.coordinator} named {given.score_bits} fraction bits of scores")
    spans = batches(len(positions), spec.batch_size)
    smallest = min(stop - start for start, stop in spans)
    consent.check_batches(policy, smallest, given.columns, centred=spec.centred)
    return Share(
        key=given.key,
        score_bits=given.score_bits,
        columns=given.columns,
        digest=_digest(train, tables.fit(train)),
        test_digest=test_digest,
        positions=positions,
        test_positions=test_positions,
        weights=np.zeros(columns),
    )


def score_bits(label: np.ndarray) -> int:
    """Choose the fraction bits of scores for a label of any unit, so that they and the label fit the fixed point.

    Its exponent is that of the label's root mean square, of which the losses tell everybody anyway: it says nothing
    about a single row.
    """
    _, exponent = math.frexp(float(np.sqrt(np.mean(np.square(label)))))
    return min(max(fixedpoint.MAX_BITS - _HEADROOM_BITS - exponent, 0), _MOST_SCORE_BITS)


def _design(features: np.ndarray, *, intercept: bool) -> np.ndarray:
    return np.column_stack([features, np.ones(len(features))]) if intercept else features


def _label(table: Table | None) -> np.ndarray:
    return np.empty(0) if table is None or table.label is None else table.label


def _unchanged(
    table: Table, positions: np.ndarray, digest: bytes, fit: Callable[[Table], Recoding] | None = None
) -> Table:
    """The rows at `positions`; DataError where they, or what `fit` makes of them, are not what the job began with."""
    if positions.max() < len(table):
        rows = table.take(positions)
        if _digest(rows, None if fit is None else fit(rows)) == digest:
            return rows
    raise DataError(
        f"{table.name}: the aligned rows changed since the job began, or what the party file makes of them did; submit"
        " a new job"
    )


def _digest(table: Table, recoding: Recoding | None = None) -> bytes:
    digest = hashlib.blake2b(np.ascontiguousarray(table.features).tobytes(), digest_size=16)
    if table.label is not None:
        digest.update(table.label.tobytes())
    for name, levels in table.levels.items():
        digest.update(codec.pack([name, *levels]))
    if recoding is not None:
        digest.update(codec.pack(recoding.to_map()))
    return digest.digest()
