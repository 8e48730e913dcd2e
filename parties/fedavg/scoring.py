"""A network that was kept is scored on rows as their files have them: what every report has is measured here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fedbus.algorithms.fedavg.spec import AverageJob
from fedbus.weights import Weights
from parties.data.table import Table
from parties.data.tables import Tables
from parties.fedavg import network, training
from parties.outputs import Predictions
from parties.scores import regression_metrics
from parties.side import Result


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """It says how rows are standardised, as a model is kept with it: (x - mean) / scale of columns and label."""

    mean: np.ndarray
    scale: np.ndarray
    label_mean: float
    label_scale: float

    @classmethod
    def of(cls, model: Mapping[str, Any]) -> Scale:
        """Return the scale of a model as a party keeps it."""
        return cls(model["mean"], model["scale"], model["label"]["mean"], model["label"]["scale"])

    def rows(self, table: Table) -> tuple[np.ndarray, np.ndarray]:
        """Return columns and label as the network is trained on them."""
        return (table.features - self.mean) / self.scale, (label_of(table) - self.label_mean) / self.label_scale


def measure(spec: AverageJob, weights: Weights, scale: Scale, tables: Sequence[Table]) -> dict[str, Any]:
    """Measure how good a network is on the rows of these tables together, in the label's unit; see `scores`."""
    outputs = _outputs(spec, weights, scale, tables)
    return scores(outputs, np.concatenate([label_of(table) for table in tables]), spec.params.loss)


def predictions(spec: AverageJob, weights: Weights, scale: Scale, table: Table) -> Predictions:
    """Return what a network says of the rows of a table:
    numbers in the label's unit, or classes and their probabilities.
    """
    outputs, label = _outputs(spec, weights, scale, [table]), label_of(table)
    if spec.params.loss == "mse":
        return Predictions(table.ids, label, outputs[:, 0])
    if spec.params.loss == "bce":
        # The logistic function, which does not overflow so.
        return Predictions(table.ids, label, 0.5 * (1.0 + np.tanh(outputs[:, 0] / 2.0)))
    parts = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    chosen = outputs.argmax(axis=1).astype(np.float64)
    return Predictions(table.ids, label, chosen, parts / parts.sum(axis=1, keepdims=True))


def with_own(result: Result, spec: AverageJob, tables: Tables) -> Result:
    """Return a result with what follows from this party's tables:
    how they were recoded, and predictions of held-out rows.

    These are of the best model where one was kept.
    """
    model, told = result.model, None
    if tables.test is not None and len(tables.test):
        weights = Weights.parse(bytearray(model.get("best", model["last"])))
        told = predictions(spec, weights, Scale.of(model), tables.test)
    recoding = [] if tables.recoding is None else tables.recoding.to_map()
    return replace(result, model={**model, "recoding": recoding}, missing=tables.gaps, predictions=told)


def _outputs(spec: AverageJob, weights: Weights, scale: Scale, tables: Sequence[Table]) -> np.ndarray:
    """What a network gives for the rows of these tables together, (rows, outputs), in the label's unit."""
    module = network.build(spec.model, len(tables[0].columns), spec.params.seed)
    network.load(module, weights, "the model that was kept")
    features = np.concatenate([scale.rows(table)[0] for table in tables])
    return np.asarray(training.predict(module, features).astype(np.float64) * scale.label_scale + scale.label_mean)


def scores(outputs: np.ndarray, label: np.ndarray, loss: str) -> dict[str, Any]:
    """Measure how good predictions are: outputs (rows, outputs) of a network against labels (rows,).

    Returns:
        With "mse" mse, rmse, r2; otherwise accuracy, and of two classes auc. What is not defined is None, and
        `undefined` says why, by its name.
    """
    alike = bool((label == label[0]).all())
    if loss == "mse":
        found: dict[str, Any] = dict(regression_metrics(label, outputs[:, 0]))
        undefined = {"r2": "the label is the same in all these rows"}
    else:
        chosen = outputs[:, 0] > 0 if loss == "bce" else outputs.argmax(axis=1)
        found = {"accuracy": float(np.mean(chosen == label))}
        undefined = {"auc": f"all these rows are of class {label[0]:g}"}
        if loss == "bce" or outputs.shape[1] == 2:  # classes
            found["auc"] = None if alike else _auc(label, outputs)
    undefined = {name: why for name, why in undefined.items() if alike and name in found}
    return {**found, **dict.fromkeys(undefined), **({"undefined": undefined} if undefined else {})}


def _auc(label: np.ndarray, outputs: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(label, outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]))


def label_of(table: Table) -> np.ndarray:
    """Return the label, which every party of such a job has."""
    assert table.label is not None  # noqa: S101  # every party of such a job has it
    return table.label
