"""What `fedbus plan` says of a job of federated averaging: sizes, room for numbers, who learns what, and advice."""

from __future__ import annotations

from typing import Any

from fedbus.averaging import Task, packs, plan
from fedbus.errors import ConfigError
from fedbus.jobs.average import AverageJob, Layer

_OF_COORDINATOR = {
    "masked": "sums over the parties who answer, at least {least}: of updates, of losses, of columns' means and "
    "variances; of a single party's it gets what masks hide, which {threshold} parties together could take off",
    "paillier": "the sums that a party opens for it: of updates, of losses, of columns' means and variances",
    "plain": "each party's update, loss, and columns' means and variances",
}
_OF_PARTY = "the model of each round, and so the weighted average of all parties' updates"


def average_plan(spec: AverageJob, columns: int, parameters: int | None = None) -> dict[str, Any]:
    """The plan of a job whose parties have so many feature columns.

    Args:
        parameters: of the network; counted from the layers where None.

    Returns:
        parameters, bits and fraction bits of entries; of a round messages and bytes to and from each party; what each
        role learns; advice.

    Raises:
        ConfigError: the network is made by a factory, and nobody says how many parameters it has.
        FixedPointOverflow: clip_range and fraction_bits do not fit 64 bits.
    """
    if parameters is None:
        if spec.model.factory is not None:
            raise ConfigError("--parameters: say how many the network of model.factory has")
        parameters = count_parameters(spec.model.layers, columns)
    shape, params = plan(spec, Task.TRAIN, columns, parameters), spec.params
    up = shape.length * shape.ring.dtype.itemsize
    if params.aggregation == "paillier":
        up = packs(shape, spec) * params.key_bits // 4
    masked = params.aggregation == "masked"
    learns = _OF_COORDINATOR[params.aggregation].format(threshold=spec.threshold, least=spec.min_clients)
    return {
        "name": spec.name,
        "algorithm": spec.algorithm,
        "aggregation": params.aggregation,
        "strategy": spec.strategy.name,
        "parties": len(spec.parties),
        "rounds": params.rounds,
        "columns": columns,
        "parameters": parameters,
        "entry_bits": shape.ring.bits,
        "fraction_bits": shape.ring.fraction_bits,
        "clip_range": shape.ring.limit,
        "threshold": spec.threshold if masked else None,
        "min_clients": spec.min_clients,
        "bytes_to_party": 4 * parameters,
        "bytes_from_party": up,
        "bytes": params.rounds * len(spec.parties) * (4 * parameters + up),
        "learns": {spec.coordinator: learns, "each party": _OF_PARTY},
        "advice": advice(spec),
    }


def count_parameters(layers: tuple[Layer, ...], inputs: int) -> int:
    """Weights and biases of a network of these layers."""
    total, width = 0, inputs
    for layer in layers:
        if layer.linear is not None:
            total += (width + 1) * layer.linear
            width = layer.linear
        elif layer.layer_norm:
            total += 2 * width
    return total


def advice(spec: AverageJob) -> list[str]:
    """What whoever submits the job should know."""
    given = []
    if len(spec.parties) == 2:
        given.append(
            "with two parties each can subtract its own update from the sum and so knows the other's, whatever hides "
            "them from the coordinator; three or more are advised"
        )
    if spec.params.aggregation == "plain":
        given.append('aggregation "plain" shows the coordinator each update, from which rows can be reconstructed')
    if spec.params.aggregation == "paillier":
        given.append("every party holds the key: none may see what another sends to the coordinator")
    if spec.privacy is None:
        given.append("without [privacy] a model may remember single rows")
    return given
