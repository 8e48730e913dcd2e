"""What a job of sums need not say, and what contradicts itself."""

from __future__ import annotations

from typing import Any

import pytest

from fedbus.algorithms.sums.rules import AGGREGATIONS, SumRules, check_aggregation, check_key_settings
from fedbus.errors import ConfigError

FIVE = ("e", "d", "c", "b", "a")


@pytest.mark.parametrize(
    ("aggregation", "parties", "given", "threshold", "min_clients"),
    [
        ("masked", 2, {}, 2, 2),
        ("masked", 5, {}, 3, 3),
        ("masked", 5, {"threshold": 4}, 4, 4),
        ("masked", 5, {"min_clients": 5}, 3, 5),
        ("paillier", 5, {}, 3, 2),
        ("plain", 5, {}, 3, 1),
        ("plain", 5, {"min_clients": 4}, 3, 4),
    ],
)
def test_what_a_job_does_not_say(
    aggregation: str, parties: int, given: dict[str, int], threshold: int, min_clients: int
) -> None:
    rules = SumRules.of(aggregation, FIVE[:parties], **given)  # type: ignore[arg-type]
    assert (rules.threshold, rules.min_clients) == (threshold, min_clients)
    assert rules.hides == (aggregation != "plain")
    rules.check("job.toml")


@pytest.mark.parametrize(
    ("aggregation", "given", "words"),
    [
        ("plain", {"threshold": 6}, "params.threshold: 6 parties are asked for and the job has 5"),
        ("plain", {"min_clients": 6}, "params.min_clients: 6 parties are asked for and the job has 5"),
        # Two halves could unmask different things of one party.
        ("masked", {"threshold": 2}, "2 of 5 parties are no majority.*at least 3 are needed"),
        ("masked", {"threshold": 4, "min_clients": 3}, "below 4 parties .params.threshold. nothing is unmasked"),
        ("paillier", {"min_clients": 1}, "a sum over one party is that party's update"),
    ],
)
def test_rules_that_contradict_each_other(aggregation: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=rf"^job\.toml: .*{words}"):
        SumRules.of(aggregation, FIVE, **given).check("job.toml")


def test_names_of_aggregations() -> None:
    for aggregation in AGGREGATIONS:
        check_aggregation(aggregation, "job.toml")
    with pytest.raises(ConfigError, match=r"job\.toml: params\.aggregation: .*did you mean 'masked'"):
        check_aggregation("maskd", "job.toml")


def test_only_a_key_has_settings_of_a_key() -> None:
    check_key_settings("paillier", {"key_bits": 2048, "insecure_for_tests": True}, "job.toml")
    check_key_settings("masked", {"rounds": 3}, "job.toml")
    with pytest.raises(ConfigError, match=r"params\.key_bits: belongs to aggregation 'paillier', this is 'masked'"):
        check_key_settings("masked", {"rounds": 3, "key_bits": 2048}, "job.toml")


def test_parties_keep_the_order_of_the_job() -> None:
    assert SumRules.of("masked", FIVE).in_order(["a", "c", "e"]) == ("e", "c", "a")
