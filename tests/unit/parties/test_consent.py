"""The rules for a party's own part of a job: each refusal names the rule, its setting and the remedy."""

from __future__ import annotations

from typing import Any

import pytest

from fedbus.algorithms import registry
from fedbus.errors import ConfigError, JobRefused
from fedbus.job import JobSpec
from fedbus.settings import PartySettings, party_of
from parties.consent import check_columns, check_part, check_ratio, check_submitter
from parties.policy import Policy
from places import ROOT

PRIVATE = {"noise_multiplier": 1.0, "epsilon": 2.0, "delta": 1e-5}


def linear(**params: Any) -> JobSpec:
    return registry.parse(
        {
            "name": "job",
            "algorithm": "vertical-linear",
            "guest": {"party": "shop", "dataset": "rows", "label": "y", "test": "held"},
            "hosts": [{"party": "bank", "dataset": "users", "test": "held"}],
            "params": params,
        }
    )


def average(**fields: Any) -> JobSpec:
    parties = [{"party": name, "dataset": "rows"} for name in ("shop", "bank", "credit")]
    return registry.parse(
        {
            "name": "job",
            "algorithm": "fedavg",
            "label": "y",
            "parties": parties,
            "model": {"layers": [{"linear": 1}]},
            "params": {"rounds": 3},
            **fields,
        }
    )


def settings(policy: dict[str, Any]) -> PartySettings:
    fields = {"name": "bank", "state": "bank.db", "datasets": {"users": {"source": "u.csv", "id": "id"}}}
    return party_of({**fields, "policy": policy}, ROOT / "bank.toml", {})


def refused(*words: str) -> Any:
    return pytest.raises(JobRefused, match="".join(f"(?=.*{word})" for word in words))


def test_a_policy_without_rules_takes_any_part() -> None:
    check_submitter(Policy(), "")
    check_part(Policy(), linear(), "shop")
    check_columns(Policy(), "rows", ["a", "b"])
    check_ratio(Policy(), 1, 100)


def test_only_submitters_that_are_listed() -> None:
    policy = Policy(submitters=("olga",))
    check_submitter(policy, "olga")
    with refused("'eve'", "`submitters`", "ask its operator"):
        check_submitter(policy, "eve")
    with refused("submitter is not known", "`submitters`"):
        check_submitter(policy, "")


def test_data_sets_of_training_rows_and_held_out_rows_are_allowed_by_one_rule() -> None:
    check_part(Policy(datasets=("users", "held")), linear(), "bank")
    with refused("'users'", "`datasets`", "name another"):
        check_part(Policy(datasets=("held",)), linear(), "bank")
    with refused("'held'", "`datasets`"):
        check_part(Policy(datasets=("users",)), linear(), "bank")


def test_labels_match_patterns_at_the_party_that_has_one() -> None:
    check_part(Policy(labels=("sum_*", "y")), linear(), "shop")
    check_part(Policy(labels=()), linear(), "bank")
    with refused("predict 'y'", "`labels`", "another label"):
        check_part(Policy(labels=("Y",)), linear(), "shop")


def test_columns_match_patterns_and_the_refusal_names_none() -> None:
    policy = Policy(columns=("age", "income_*"))
    check_columns(policy, "users", ["age", "income_2025"])
    with refused("1 column", "`columns`", "exclude") as caught:
        check_columns(policy, "users", ["age", "diagnosis"])
    assert "diagnosis" not in str(caught.value)


def test_rows_for_each_column() -> None:
    policy = Policy(min_rows_per_column=5)
    check_ratio(policy, 50, 10)
    with refused("10 columns on 49 rows", "5 rows a column", "`min_rows_per_column`", "fewer columns"):
        check_ratio(policy, 49, 10)


def test_a_data_set_with_a_budget_is_for_private_jobs_only() -> None:
    policy = Policy(epsilon={"rows": 8.0, "held": 8.0})
    check_part(policy, average(privacy=PRIVATE), "bank")
    with refused("'rows'", "`epsilon`", "no section .privacy."):
        check_part(policy, average(), "bank")
    with refused("'held'", "held-out rows carry no noise", "name another data set as `test`"):
        check_part(policy, linear(), "bank")


def test_keys_and_rounds() -> None:
    Policy(min_key_bits=3072, max_rounds=10).check_job(linear(key_bits=3072, max_epochs=10))
    with refused("`key_bits` is 2048", "3072", "`min_key_bits`", "raise"):
        Policy(min_key_bits=3072).check_job(linear(key_bits=2048))
    with refused("11 epochs", "allows 10", "`max_rounds`"):
        Policy(max_rounds=10).check_job(linear(max_epochs=11))
    with refused("3 rounds", "allows 2"):
        Policy(max_rounds=2).check_job(average())


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"datasets": ["user"]}, r"policy\.datasets\[0\].*did you mean 'users'"),
        ({"epsilon": {"user": 3.0}}, r"policy\.epsilon.*did you mean 'users'"),
        ({"epsilon": {"users": 0.0}}, "epsilon"),
        ({"min_key_bits": 1024}, "min_key_bits"),
        ({"similar_rows": 0.1}, "similar_rows"),
        ({"submitters": ["Olga Smith"]}, "submitters"),
    ],
)
def test_a_rule_that_names_what_is_not_there_is_an_error_of_the_file(policy: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Policy.of(settings(policy))
