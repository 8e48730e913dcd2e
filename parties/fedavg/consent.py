"""A party's policy is held against a job of federated averaging."""

from __future__ import annotations

from fedbus.algorithms.fedavg.spec import AverageJob
from fedbus.errors import JobRefused
from parties.policy import Policy
from parties.sums.consent import check_sums


def check_job(policy: Policy, spec: AverageJob) -> None:
    """Hold a job of federated averaging against the policy.

    Raises:
        JobRefused: names the setting and the remedy.
    """
    check_sums(policy, spec.sums)
    factory = spec.model.factory
    if factory is not None and factory not in policy.models:
        raise JobRefused(
            f"the job's network is made by {factory}, which this party's policy does not list; ask its operator to"
            " install it and add it to `models`, or describe the network by `layers`"
        )


def check_rows(policy: Policy, rows: int) -> None:
    """Hold the number of this party's rows for training against `min_rows`; raises JobRefused, which names both."""
    if rows < policy.min_rows:
        raise JobRefused(
            f"this party has {rows} {'row' if rows == 1 else 'rows'} to train on, and its policy asks for at least"
            f" {policy.min_rows} (`min_rows`); bring more rows, or ask its operator to lower it"
        )
