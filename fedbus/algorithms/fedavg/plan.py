"""What `fedbus plan` says of a job of federated averaging: sizes, room for numbers, who learns what, and advice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedbus.algorithms.base import Forecast, Sizes
from fedbus.algorithms.fedavg.budget import Spending, spending
from fedbus.algorithms.fedavg.messages import Task
from fedbus.algorithms.fedavg.network import count_parameters, parameters_fault
from fedbus.algorithms.fedavg.spec import AverageJob
from fedbus.algorithms.fedavg.tasks import sum_layout
from fedbus.algorithms.sums.layout import SumLayout
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
    return Forecast(estimate(spec, next(iter(columns.values())), sizes.parameters, {**said, **sizes.rows}))


def estimate(
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
    parameters = _parameters(spec, columns, parameters)
    layout = sum_layout(spec, Task.TRAIN, columns, parameters)
    return {
        **_settings(spec),
        "columns": columns,
        "parameters": parameters,
        "entry_bits": layout.ring.bits,
        "fraction_bits": layout.ring.fraction_bits,
        "clip_range": layout.ring.limit,
        **_traffic(spec, layout, parameters),
        "learns": _learns(spec),
        **_affordable(spec, rows or {}),
    }


def _parameters(spec: AverageJob, columns: int, given: int | None) -> int:
    """How many parameters the network has; raises ConfigError as `estimate`."""
    if given is None and spec.model.factory is not None:
        raise ConfigError("--parameters: say how many the network of model.factory has")
    parameters = count_parameters(spec.model.layers, columns) if given is None else given
    if fault := parameters_fault(parameters):
        raise ConfigError(f"model: {fault}")
    return parameters


def _settings(spec: AverageJob) -> dict[str, Any]:
    """What the job says of itself, with what follows where it says nothing."""
    return {
        "name": spec.name,
        "algorithm": spec.algorithm,
        "aggregation": spec.params.aggregation,
        "strategy": spec.strategy.name,
        "parties": len(spec.parties),
        "rounds": spec.params.rounds,
        "threshold": spec.sums.threshold if spec.params.aggregation == "masked" else None,
        "min_clients": spec.sums.min_clients,
    }


def _traffic(spec: AverageJob, layout: SumLayout, parameters: int) -> dict[str, int]:
    """Bytes of a round to and from each party, and of all rounds."""
    down, up = 4 * parameters, layout.length * layout.ring.dtype.itemsize
    if spec.params.aggregation == "paillier":
        # A ciphertext is modulo the square of the key's modulus.
        up = layout.ciphertexts(spec.params.key_bits) * spec.params.key_bits // 4
    rounds = spec.params.rounds * len(spec.parties)
    return {"bytes_to_party": down, "bytes_from_party": up, "bytes": rounds * (down + up)}


def _learns(spec: AverageJob) -> dict[str, str]:
    """What each role learns of the others."""
    of_coordinator = _OF_COORDINATOR[spec.params.aggregation]
    told = of_coordinator.format(threshold=spec.sums.threshold, least=spec.sums.min_clients)
    return {spec.coordinator: told, "each party": _OF_PARTY}


def _affordable(spec: AverageJob, rows: Mapping[str, int]) -> dict[str, Any]:
    """Advice; with [privacy] and rows also what the rounds spend of it. Raises JobRefused as `estimate`."""
    given = advice(spec)
    if spec.privacy is None or not rows:
        return {"advice": given}
    found = spending(spec, rows)
    spent = {"rounds_affordable": found.rounds, "epsilon": found.epsilon, "limited_by": found.party}
    return {**spent, "advice": [*given, budget_note(spec, rows, found)]}


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
