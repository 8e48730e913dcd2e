"""What a party's policy refuses of federated averaging, by the setting and the remedy."""

from __future__ import annotations

from typing import Any

import pytest

from fedbus.algorithms import registry
from fedbus.algorithms.fedavg.spec import AverageJob
from fedbus.errors import JobRefused
from parties.fedavg.consent import check_job, check_rows
from parties.policy import Policy


def average(**params: Any) -> AverageJob:
    """A job of three parties."""
    spec = registry.parse(
        {
            "name": "job",
            "algorithm": "fedavg",
            "label": "y",
            "parties": [{"party": name, "dataset": "rows"} for name in ("bob", "alice", "carol")],
            "model": params.pop("model", {"layers": [{"linear": 1}]}),
            "params": params,
        }
    )
    assert isinstance(spec, AverageJob)
    return spec


def test_defaults_accept_a_sound_job() -> None:
    Policy().check_job(average())
    check_job(Policy(), average())
    check_job(
        Policy(aggregations=("plain",), models=("nets:small",)),
        average(aggregation="plain", model={"factory": "nets:small"}),
    )


def test_a_factory_that_the_policy_does_not_list() -> None:
    with pytest.raises(JobRefused, match=r"os:system.*`models`"):
        check_job(Policy(models=("nets:small",)), average(model={"factory": "os:system"}))


def test_a_job_is_held_to_what_the_policy_says_of_sums() -> None:
    with pytest.raises(JobRefused, match=r"'plain'.*`aggregations`"):
        check_job(Policy(), average(aggregation="plain"))


def test_too_few_rows_of_its_own() -> None:
    with pytest.raises(JobRefused, match=r"9 rows to train on, .* 10 \(`min_rows`\)"):
        check_rows(Policy(), 9)
    check_rows(Policy(), 10)
    with pytest.raises(JobRefused, match=r"1 row to train on, .* 2 \(`min_rows`\)"):
        check_rows(Policy(min_rows=2), 1)
    check_rows(Policy(min_rows=1), 1)
