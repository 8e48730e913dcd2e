"""What `fedbus plan` says of a job of federated averaging: sizes, room for numbers, who learns what, and advice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedbus.algorithms.base import Forecast, Sizes
from fedbus.algorithms.fedavg.budget import Spending, spending
from fedbus.algorithms.fedavg.messages import Task
from fedbus.algorithms.fedavg.network import count_parameters, parameters_fault
from fedbus.algorithms.fedavg.spec import AverageJob
from fedbus.algorithms.fedavg.sums import packs, plan
from fedbus.errors import ConfigError
from fedbus.names import listed

_OF_COORDINATOR = {
    "masked": "sums over the parties who answer, at least {least}: of updates, of losses, of means and variances of "
    "columns and label; of a single party's it gets what masks hide, which {threshold} parties together could take off",
    "paillier": "the sums that a party opens for it: of updates, of losses, of means and variances of columns and "
    "label",
    "plain": "each party's update, loss, and means and variances of columns and label",
}
_OF_PARTY = "the model of each round, and so the weighted average of all parties' updates"


def forecast(spec: AverageJob, sizes: Sizes) -> Forecast:
    """See base.Planning; every party has the same columns."""
    columns = sizes.columns
    if not columns:
        raise ConfigError("--columns PARTY=NUMBER or a party file is needed: the first layer has as many inputs")
    if len(set(columns.values())) > 1:
        raise ConfigError(
            "the parties have to have the same columns: " + ", ".join(f"{p} {n}" for p, n in columns.items())
        )
    said = dict.fromkeys(spec.parties, sizes.rows_said) if sizes.rows_said else {}
    return Forecast(average_plan(spec, next(iter(columns.values())), sizes.parameters, {**said, **sizes.rows}))


def average_plan(
    spec: AverageJob, columns: int, parameters: int | None = None, rows: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """The plan of a job whose parties have so many feature columns.

    Args:
        parameters: of the network; counted from the layers where None.
        rows: that parties train on, as far as they are known; with [privacy] they say how much of it is spent.

    Returns:
        parameters, bits and fraction bits of entries; of a round messages and bytes to and from each party; what each
        role learns; advice; with [privacy] and rows the rounds that keep within the budget (rounds_affordable), what
        they spend (epsilon) and whose rows lose most (limited_by).

    Raises:
        ConfigError: the network is made by a factory, and nobody says how many parameters it has; or
            it has more than there can be.
        FixedPointOverflow: clip_range and fraction_bits do not fit 64 bits.
        JobRefused: the privacy budget does not allow one round.
    """
    if parameters is None:
        if spec.model.factory is not None:
            raise ConfigError("--parameters: say how many the network of model.factory has")
        parameters = count_parameters(spec.model.layers, columns)
    if fault := parameters_fault(parameters):
        raise ConfigError(f"model: {fault}")
    shape, params = plan(spec, Task.TRAIN, columns, parameters), spec.params
    up = shape.length * shape.ring.dtype.itemsize
    if params.aggregation == "paillier":
        up = packs(shape, spec) * params.key_bits // 4
    masked = params.aggregation == "masked"
    learns = _OF_COORDINATOR[params.aggregation].format(threshold=spec.threshold, least=spec.min_clients)
    spent: dict[str, Any] = {}
    given = advice(spec)
    if spec.privacy is not None and rows:
        found = spending(spec, rows)
        spent = {"rounds_affordable": found.rounds, "epsilon": found.epsilon, "limited_by": found.party}
        given.append(budget_note(spec, rows, found))
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
        **spent,
        "advice": given,
    }


def budget_note(spec: AverageJob, rows: Mapping[str, int], found: Spending) -> str:
    """What the rounds of a job spend of its privacy budget, in a sentence."""
    assert spec.privacy is not None  # noqa: S101  # it was spent
    of = f"{found.party} with {rows[found.party]:,} rows"
    unknown = [party for party in spec.parties if party not in rows]
    rest = f"; the rows of {listed(unknown)}, not given here, may allow fewer" if unknown else ""
    budget, wanted = f"privacy.epsilon of {spec.privacy.epsilon:g}", spec.params.rounds
    if found.rounds < wanted:
        return (
            f"the {budget} allows {found.rounds:,} of the {wanted:,} rounds, which spend {found.epsilon:.3g}; "
            f"{of} sets the limit{rest}"
        )
    return f"the {wanted:,} rounds spend {found.epsilon:.3g} of the {budget}; {of} loses most{rest}"


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
