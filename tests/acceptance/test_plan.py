"""What `fedbus plan` counts before a job against what the job then does: operations, messages and bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fedbus import metrics
from fedbus.algorithms.linear import costs
from federation import Federation, motor


def operations() -> dict[str, float]:
    """Big-integer operations of this process so far, by kind."""
    return {
        sample.labels["operation"]: sample.value
        for metric in metrics.crypto_operations.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }


def job(folder: Path, hosts: int, params: dict[str, Any]) -> Federation:
    federation = motor(folder, hosts=hosts)
    federation.params = {"key_bits": 512, "insecure_for_tests": True, **params}
    return federation


@pytest.mark.parametrize("hosts", [1, 2])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"solver": "sgd", "max_epochs": 2, "tolerance": 0.0},
        {"solver": "sgd", "max_epochs": 2, "tolerance": 0.0, "batch_size": 200},
    ],
    ids=["gram", "sgd", "batches"],
)
def test_a_job_does_what_was_planned(tmp_path: Path, hosts: int, params: dict[str, Any]) -> None:
    federation = job(tmp_path, hosts, params)
    before = operations()
    report = federation.run()
    assert report["state"] == "succeeded", report
    done = {kind: value - before.get(kind, 0) for kind, value in operations().items()}
    spec, rounds = federation.spec(), report["rounds"]
    probed = report["probe_rounds"]
    counted = costs.count(spec, report["aligned_rows"], report["columns"], probe=probed > 0)
    totals = {role: counted.total(role, rounds + probed) for role in counted.once}

    assert done["hash"] == sum(cost.hashes for cost in totals.values())
    assert done["blind"] == sum(cost.blindings for cost in totals.values())
    assert done["decrypt"] == sum(cost.decryptions for cost in totals.values())
    assert done["check"] == sum(cost.checks for cost in totals.values())
    assert done["encrypt"] + done["obfuscate"] == sum(cost.encryptions for cost in totals.values())
    assert done["multiply"] == sum(sum(cost.cells.values()) for cost in totals.values())
    for role, cost in totals.items():
        # Envelopes and small messages come on top of what is counted.
        assert (
            cost.size
            <= report["bytes_sent"][role]
            <= 1.1 * cost.size + 600 * (cost.messages + 10 * (rounds + probed) + 20)
        )
