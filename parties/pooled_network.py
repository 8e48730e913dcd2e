"""What no party can do, and a simulation can, for it has every party's file: the same network on the pooled rows.

And federated averaging without any protocol, in one process: what the protocol must come to, but for fixed point.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import structlog

from fedbus import codec, pooled
from fedbus.errors import TrainingDiverged
from fedbus.jobs import AverageJob
from fedbus.jobs.average import Strategy
from fedbus.settings import PartySettings
from fedbus.store import Store
from fedbus.weights import Weights
from parties import network, tables, training
from parties.data import Table
from parties.local import threads_for

log = structlog.get_logger()

# Of strategies whose next model is the last one and the average of the updates.
_AVERAGING = ("fedavg", "fedprox")


def compare(spec: AverageJob, job: str, parties: Sequence[PartySettings]) -> dict[str, Any]:
    """Figures of the network trained on the pooled rows for as many epochs, and of plain federated averaging.

    Returns:
        test, pooled_test (where there are held-out rows): mse and r2, or accuracy and of two classes auc; test_mse and
        pooled_test_mse; max_weight_difference from plain federated averaging, where the strategy is that.
    """
    by_name = {party.name: party for party in parties}
    ordered = [by_name[name] for name in spec.parties]
    loaded = [tables.load(party, spec) for party in ordered]
    model = _model(job, ordered)
    mean, scale = standardisation([own.train for own in loaded], spec)
    train = [((own.train.features - mean) / scale, _label(own.train)) for own in loaded]
    last = Weights.parse(bytearray(model["last"]))
    rounds = int(model["rounds"])
    training.configure(threads_for(len(last), ordered[0].processes))
    figures: dict[str, Any] = {}
    if spec.strategy.name in _AVERAGING and spec.privacy is None and spec.params.client_fraction == 1.0:
        with _unless_it_diverges("plain federated averaging"):
            plain = federated_averaging(spec, train, rounds)
            figures["max_weight_difference"] = float(np.abs(plain.flat.astype(np.float64) - last.flat).max())
    tests = [own.test for own in loaded if own.test is not None]
    if not tests:
        return figures
    features = np.concatenate([(table.features - mean) / scale for table in tests])
    label = np.concatenate([_label(table) for table in tests])
    models = {"test": last}
    with _unless_it_diverges("the network on the pooled rows"):
        models["pooled_test"] = _pooled(spec, train, rounds)
    module = network.build(spec.model, features.shape[1], spec.params.seed)
    for name, weights in models.items():
        network.load(module, weights, name)
        figures[name] = scores(training.predict(module, features), label, spec.params.loss)
        if "mse" in figures[name]:
            figures[f"{name}_mse"] = figures[name]["mse"]
    return figures


@contextlib.contextmanager
def _unless_it_diverges(what: str) -> Iterator[None]:
    """A comparison that comes to nothing is no reason to lose the job's own report."""
    try:
        yield
    except TrainingDiverged as error:
        log.warning("no comparison", of=what, reason=str(error))


def standardisation(train: Sequence[Table], spec: AverageJob) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the columns of all rows together, as the job has them."""
    features = np.concatenate([table.features for table in train])
    mean, scale = features.mean(axis=0), features.std(axis=0)
    as_is = np.isin(train[0].columns, spec.data.as_is) | (not spec.data.standardize)
    return np.where(as_is, 0.0, mean), np.where(as_is | (scale == 0.0), 1.0, scale)


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
    """The network after as many epochs over the rows of all parties together."""
    features, label = (np.concatenate(parts) for parts in zip(*train, strict=True))
    module = network.build(spec.model, features.shape[1], spec.params.seed)
    if rounds:
        params = msgspec.structs.replace(spec.params, local_epochs=spec.params.local_epochs * rounds)
        training.train(module, features, label, params, Strategy(), training.stream_of("all", 0))
    return network.weights(module)


def scores(outputs: np.ndarray, label: np.ndarray, loss: str) -> dict[str, float | None]:
    """How good predictions are: outputs (rows, outputs) of a network against labels (rows,); None is undefined."""
    if loss == "mse":
        found = pooled.regression_metrics(label, outputs[:, 0].astype(np.float64))
        return {"mse": found["mse"], "rmse": found["rmse"], "r2": found["r2"]}
    from sklearn.metrics import roc_auc_score

    chosen = outputs[:, 0] > 0 if loss == "bce" else outputs.argmax(axis=1)
    measured: dict[str, float | None] = {"accuracy": float(np.mean(chosen == label))}
    if loss == "bce" or outputs.shape[1] == 2:
        measured["auc"] = float(roc_auc_score(label, outputs[:, 0] if loss == "bce" else outputs[:, 1] - outputs[:, 0]))
    return measured


def _model(job: str, parties: Sequence[PartySettings]) -> dict[str, Any]:
    """What a party has kept of a job, the first that has."""
    for party in parties:
        with Store(party.path(party.state)) as store:
            kept = store.model(job)
        if kept is not None:
            found: dict[str, Any] = codec.unpack(kept)
            return found
    raise LookupError(f"no party has kept a model of job {job}")


def _label(table: Table) -> np.ndarray:
    assert table.label is not None  # noqa: S101  # every party of such a job has it
    return table.label
