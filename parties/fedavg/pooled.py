"""A simulation, which has every party's file, trains the same network on the pooled rows, which no party can do.

And federated averaging without any protocol, in one process: what the protocol must come to, but for fixed point.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import structlog

from fedbus import codec
from fedbus.algorithms.fedavg.moments import IMMENSE
from fedbus.algorithms.fedavg.report import AverageReport
from fedbus.algorithms.fedavg.spec import AverageJob, Strategy
from fedbus.algorithms.fedavg.tasks import standardised
from fedbus.errors import TrainingDiverged
from fedbus.settings import PartySettings
from fedbus.store.sqlite import SqliteStore
from fedbus.weights import Weights
from parties.data import tables
from parties.data.table import Table
from parties.fedavg import moments, network, training
from parties.fedavg.local import threads_for
from parties.fedavg.scoring import Scale, label_of, measure

log = structlog.get_logger()

# Of strategies whose next model is the last one and the average of the updates.
_AVERAGING = ("fedavg", "fedprox")


def compare(spec: AverageJob, report: AverageReport, parties: Sequence[PartySettings]) -> dict[str, Any]:
    """Figures of the models that were kept, of the network trained on the pooled rows for as many epochs, and of plain
    federated averaging.

    The kept models are measured with the means and deviations that were kept with them; the network on the pooled rows
    has those of the pooled rows.

    Returns:
        test, pooled_test (where there are held-out rows): mse and r2, or accuracy and of two classes auc; test_mse and
        pooled_test_mse; best_test, where the best model is another than the last; max_weight_difference from plain
        federated sums, where the strategy is that; warnings; missing_by_column, of each party that filled cells.
    """
    by_name = {party.name: party for party in parties}
    ordered = [by_name[name] for name in spec.parties]
    loaded = [tables.load(party, spec) for party in ordered]
    model = _model(report.job, ordered)
    kept = Scale.of(model)
    train = [own.train for own in loaded]
    last = Weights.parse(bytearray(model["last"]))
    rounds = int(model["rounds"])
    training.configure(threads_for(len(last), ordered[0].processes))
    figures: dict[str, Any] = {}
    filled = {party.name: dict(own.gaps.train) for party, own in zip(ordered, loaded, strict=True)}
    if missing := {party: counts for party, counts in filled.items() if counts}:
        figures["missing_by_column"] = missing
    # Plain averaging of all parties is another course where one missed a round.
    all_took_part = all(rounds >= report.rounds for rounds in report.took_part.values())
    plainly = spec.strategy.name in _AVERAGING and spec.privacy is None and spec.params.client_fraction == 1.0
    if plainly and all_took_part:
        with _unless_it_diverges("plain federated averaging"):
            plain = federated_averaging(spec, [kept.rows(table) for table in train], rounds)
            figures["max_weight_difference"] = float(np.abs(plain.flat.astype(np.float64) - last.flat).max())
    tests = [own.test for own in loaded if own.test is not None]
    if not tests:
        return figures
    measured = {"test": measure(spec, last, kept, tests)}
    if "best" in model:
        measured["best_test"] = measure(spec, Weights.parse(bytearray(model["best"])), kept, tests)
    with _unless_it_diverges("the network on the pooled rows"):
        own = standardisation(train, spec)
        measured["pooled_test"] = measure(spec, _pooled(spec, [own.rows(table) for table in train], rounds), own, tests)
    for name, found in measured.items():
        figures[name] = found
        if "mse" in found:
            figures[f"{name}_mse"] = found["mse"]
    auc = measured["test"].get("auc")
    if auc is not None and auc < 0.5:  # of a coin
        figures["warnings"] = [f"The last model orders the held-out rows worse than a coin: its AUC is {auc:.4g}."]
    return figures


@contextlib.contextmanager
def _unless_it_diverges(what: str) -> Iterator[None]:
    """Make a comparison. One that comes to nothing is no reason to lose the job's own report."""
    try:
        yield
    except TrainingDiverged as error:
        log.warning("no comparison", of=what, reason=str(error))


def standardisation(train: Sequence[Table], spec: AverageJob) -> Scale:
    """Return mean and deviation of columns and label of all rows together, as the job has them."""
    chosen = standardised(spec, train[0].columns)
    values = [np.column_stack([table.features, label_of(table)]) for table in train]
    mean, scale = moments.fit(np.concatenate(values))
    mean, scale = np.where(chosen, mean, 0.0), np.where(chosen, scale, 1.0)
    return Scale(mean[:-1], scale[:-1], float(mean[-1]), float(scale[-1]) if scale[-1] < IMMENSE else 1.0)


def federated_averaging(spec: AverageJob, train: Sequence[tuple[np.ndarray, np.ndarray]], rounds: int) -> Weights:
    """McMahan et al., algorithm 1, with all parties in each round: w becomes the mean of the w_u, weighted by rows."""
    module = network.build(spec.model, train[0][0].shape[1], spec.params.seed)
    weights = network.weights(module)
    rows = [len(label) for _, label in train]
    for number in range(rounds):
        average = np.zeros(len(weights))
        for party, (features, label), count in zip(spec.parties, train, rows, strict=True):
            network.load(module, weights, "the last round")
            stream = training.stream_of(party, number)
            training.train(module, features, label, spec.params, spec.strategy, stream)
            average += network.weights(module).flat.astype(np.float64) * (count / sum(rows))
        weights.flat[:] = average
    return weights


def _pooled(spec: AverageJob, train: Sequence[tuple[np.ndarray, np.ndarray]], rounds: int) -> Weights:
    """Train a network for as many epochs over the rows of all parties together."""
    features, label = (np.concatenate(parts) for parts in zip(*train, strict=True))
    module = network.build(spec.model, features.shape[1], spec.params.seed)
    if rounds:
        params = msgspec.structs.replace(spec.params, local_epochs=spec.params.local_epochs * rounds)
        training.train(module, features, label, params, Strategy(), training.stream_of("all", 0))
    return network.weights(module)


def _model(job: str, parties: Sequence[PartySettings]) -> dict[str, Any]:
    """Return what a party has kept of a job, the first that has."""
    for party in parties:
        with SqliteStore(party.path(party.state)) as store:
            kept = store.model(job)
        if kept is not None:
            found: dict[str, Any] = codec.unpack(kept)
            return found
    raise LookupError(f"no party has kept a model of job {job}")
