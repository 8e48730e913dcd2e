"""A simulation, which has every party's file, trains the same model on the pooled data, which no party can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fedbus import codec
from fedbus.algorithms.linear.report import LinearReport
from fedbus.algorithms.linear.spec import LinearJob
from fedbus.settings import PartySettings
from fedbus.store.sqlite import SqliteStore
from parties import scores
from parties.data import ids, tables
from parties.data.gaps import filled
from parties.data.table import Scaling, Table


def compare(spec: LinearJob, report: LinearReport, parties: Sequence[PartySettings]) -> dict[str, Any]:
    """Compute figures of the exact least-squares model of the pooled rows, and how far the federated model is from it.

    Coefficients are those of standardised columns.

    Returns:
        pooled_train, pooled_test (where there are held-out rows): mse, rmse, r2; coefficients: by party and column,
        federated and pooled; max_coefficient_difference: over all of them, the intercept included; dependent_columns:
        by party, where there are any: the columns that follow from others, and from which; alike_columns: by party,
        where there are any: those that agree with columns of other parties, or add up to them; ids: rows in common as
        ids are, and if they were written alike, where these are more; missing_by_column: cells that each party filled,
        where there are any.
    """
    by_name = {party.name: party for party in parties}
    ordered = [by_name[name] for name in spec.parties]
    loaded = [tables.load(party, spec) for party in ordered]
    common = common_rows([own.train for own in loaded])
    exact, folded = ids.in_common([own.train.ids for own in loaded])
    recodings = [own.fit(table) for own, table in zip(loaded, common, strict=True)]

    def recoded(rows: Sequence[Table]) -> list[Table]:
        return [recoding.apply(table) for recoding, table in zip(recodings, rows, strict=True)]

    train = recoded(common)
    scalings = [Scaling.fit(table) for table in train]
    weights, intercept = scores.least_squares(_features(train, scalings), _label(train), l2=spec.params.l2)

    def metrics(rows: Sequence[Table]) -> scores.Metrics:
        return scores.regression_metrics(_label(rows), _features(rows, scalings) @ weights + intercept)

    shares = _shares(report.job, ordered)
    federated = np.concatenate([share["weights"] for share in shares])
    federated_intercept = float(shares[0]["intercept"])
    coefficients, start = {}, 0
    for party, table in zip(ordered, train, strict=True):
        columns = range(start, start + len(table.columns))
        pairs = [{"federated": float(federated[c]), "pooled": float(weights[c])} for c in columns]
        coefficients[party.name] = dict(zip(table.columns, pairs, strict=True))
        start += len(table.columns)
    difference = np.max(np.abs(np.append(federated - weights, federated_intercept - intercept)))
    figures: dict[str, Any] = {
        "pooled_train": metrics(train),
        "coefficients": coefficients,
        "intercept": {"federated": federated_intercept, "pooled": float(intercept)},
        "max_coefficient_difference": float(difference),
        "dependent_columns": {
            party.name: share["dependent"] for party, share in zip(ordered, shares, strict=True) if share["dependent"]
        },
    }
    if any(share["alike"] for share in shares):
        figures["alike_columns"] = {
            party.name: share["alike"] for party, share in zip(ordered, shares, strict=True) if share["alike"]
        }
    missing = {party.name: filled(table) for party, table in zip(ordered, common, strict=True)}
    if any(missing.values()):
        figures["missing_by_column"] = {party: counts for party, counts in missing.items() if counts}
    if folded > exact:
        figures["ids"] = {"common": exact, "folded": folded}
    tests = [own.test for own in loaded if own.test is not None]
    if tests:
        figures["pooled_test"] = metrics(recoded(common_rows(tests)))
    return figures


def common_rows(parts: Sequence[Table]) -> list[Table]:
    """Return the rows that all tables have, in the same order."""
    common = sorted(set(parts[0].ids).intersection(*(part.ids for part in parts[1:])))
    rows = []
    for part in parts:
        position = {row_id: row for row, row_id in enumerate(part.ids)}
        rows.append(part.take(np.array([position[row_id] for row_id in common])))
    return rows


def _features(rows: Sequence[Table], scalings: Sequence[Scaling]) -> np.ndarray:
    return np.column_stack([scaling.apply(part.features) for part, scaling in zip(rows, scalings, strict=True)])


def _label(rows: Sequence[Table]) -> np.ndarray:
    label = rows[0].label
    assert label is not None  # noqa: S101  # the guest comes first
    return label


def _shares(job: str, parties: Sequence[PartySettings]) -> list[dict[str, Any]]:
    """What each party keeps of the model."""
    shares = []
    for party in parties:
        with SqliteStore(party.path(party.state)) as store:
            shares.append(codec.unpack(store.model(job) or b""))
    return shares
