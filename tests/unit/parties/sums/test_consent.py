"""What a party's policy refuses of sums, by the setting and the remedy."""

from __future__ import annotations

from typing import Any

import pytest

from fedbus.algorithms.sums.rules import SumRules
from fedbus.errors import JobRefused
from parties.policy import Policy
from parties.sums.consent import check_sums


def rules(aggregation: str = "masked", **others: Any) -> SumRules:
    return SumRules.of(aggregation, ("bob", "alice", "carol"), **others)


def test_defaults_accept_sums_that_show_no_summand() -> None:
    check_sums(Policy(), rules())
    check_sums(Policy(), rules("paillier"))
    check_sums(Policy(min_parties=3), rules(min_clients=3))
    # Whoever allows "plain" shows its vectors anyway, over however few they are summed.
    check_sums(Policy(aggregations=("plain",), min_parties=3), rules("plain"))


@pytest.mark.parametrize(
    ("policy", "of", "words"),
    [
        (Policy(), rules("plain"), ["'plain'", "`aggregations`", "'masked'", "'paillier'"]),
        (Policy(aggregations=()), rules(), ["'masked'", "allows none"]),
        (Policy(min_parties=4), rules(), ["3 parties", "`min_parties`"]),
        (Policy(min_parties=3), rules(), ["over 2 parties", "`min_parties`", "raise params.min_clients"]),
    ],
)
def test_refusals_name_the_setting(policy: Policy, of: SumRules, words: list[str]) -> None:
    with pytest.raises(JobRefused) as caught:
        check_sums(policy, of)
    for word in words:
        assert word in str(caught.value)
