"""A party's policy is held against a job that has vectors summed, whatever they are of."""

from __future__ import annotations

from fedbus.algorithms.sums.rules import SumRules
from fedbus.errors import JobRefused
from parties.policy import Policy


def check_sums(policy: Policy, rules: SumRules) -> None:
    """Hold how a job sums vectors against the policy; raises JobRefused, which names the setting and the remedy."""
    aggregation, parties = rules.aggregation, len(rules.parties)
    if aggregation not in policy.aggregations:
        allowed = ", ".join(f"'{name}'" for name in policy.aggregations) or "none"
        raise JobRefused(
            f"this party does not take part with aggregation '{aggregation}'; its policy's `aggregations` allows"
            f" {allowed}: ask its operator to add it, or choose another"
        )
    if parties < policy.min_parties:
        raise JobRefused(
            f"the job has {parties} parties, and this party's policy asks for {policy.min_parties} (`min_parties`)"
        )
    if rules.hides and rules.min_clients < policy.min_parties:
        raise JobRefused(
            f"the job's sums may be over {rules.min_clients} parties (params.min_clients), and this party's policy"
            f" asks for {policy.min_parties} (`min_parties`); raise params.min_clients"
        )
