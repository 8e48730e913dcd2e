"""A party's consent: what it refuses, and that it names the setting and the remedy."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fedbus.algorithms import registry
from fedbus.algorithms.fedavg.spec import AverageJob
from fedbus.algorithms.linear.spec import LinearJob
from fedbus.errors import JobRefused
from fedbus.job import JobSpec
from parties.policy import Policy


def job(algorithm: str, key_bits: int, insecure: bool) -> JobSpec:
    """A linear job; made without the checks that a job file passes, for a party must not rely on them."""
    sound = registry.parse(
        {
            "name": "job",
            "algorithm": "vertical-linear",
            "guest": {"party": "shop", "dataset": "rows", "label": "y"},
            "hosts": [{"party": "bank", "dataset": "rows"}],
        }
    )
    assert isinstance(sound, LinearJob)
    params = msgspec.structs.replace(sound.params, key_bits=key_bits, insecure_for_tests=insecure)
    return msgspec.structs.replace(sound, algorithm=algorithm, params=params)


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
    Policy().check_job(job("vertical-linear", 2048, False))
    Policy(insecure_for_tests=True).check_job(job("vertical-linear", 512, True))
    Policy().check_job(average())
    Policy().check_average(average())
    Policy(aggregations=("plain",), models=("nets:small",)).check_average(
        average(aggregation="plain", model={"factory": "nets:small"})
    )
    Policy().check_alignment(10)


@pytest.mark.parametrize(
    ("policy", "of", "words"),
    [
        (Policy(), ("federated-average", 2048, False), ["`algorithms`", "'federated-average'", "'vertical-linear'"]),
        (Policy(algorithms=()), ("vertical-linear", 2048, False), ["`algorithms`", "none"]),
        (Policy(), ("vertical-linear", 2046, False), ["`key_bits`", "2046", "raise `key_bits` to 2048"]),
        (
            Policy(),
            ("vertical-linear", 1024, True),
            ["`insecure_for_tests = true` in section [policy]", "2048", "`fedbus simulate` allows it"],
        ),
        (Policy(), ("vertical-linear", 1024, False), ["`key_bits`", "1024"]),
        # Whoever says "insecure" is refused outright: the flag may come to relax more than the length of keys.
        (Policy(), ("vertical-linear", 4096, True), ["`insecure_for_tests`"]),
    ],
)
def test_refusals_name_the_setting(policy: Policy, of: tuple[str, int, bool], words: list[str]) -> None:
    with pytest.raises(JobRefused) as caught:
        policy.check_job(job(*of))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("policy", "params", "words"),
    [
        (Policy(), {"aggregation": "plain"}, ["'plain'", "`aggregations`", "'masked'"]),
        (Policy(), {"model": {"factory": "os:system"}}, ["os:system", "`models`"]),
        (Policy(min_parties=4), {}, ["3 parties", "`min_parties`"]),
        (Policy(min_parties=3), {}, ["over 2 parties", "`min_parties`", "raise params.min_clients"]),
    ],
)
def test_refusals_of_averaging_name_the_setting(policy: Policy, params: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(JobRefused) as caught:
        policy.check_average(average(**params))
    for word in words:
        assert word in str(caught.value)


def test_too_few_rows_of_its_own() -> None:
    with pytest.raises(JobRefused, match=r"9 rows to train on, .* 10 \(`min_rows`\)"):
        Policy().check_rows(9)
    Policy().check_rows(10)
    with pytest.raises(JobRefused, match=r"1 row to train on, .* 2 \(`min_rows`\)"):
        Policy(min_rows=2).check_rows(1)
    Policy(min_rows=1).check_rows(1)


def test_too_few_aligned_rows() -> None:
    with pytest.raises(JobRefused, match=r"9 rows in common.* 10 \(`min_aligned_rows`\)"):
        Policy().check_alignment(9)
    Policy(min_aligned_rows=9).check_alignment(9)
    with pytest.raises(JobRefused, match=r"9 held-out rows in common.* 10 \(`min_aligned_rows`\)"):
        Policy().check_alignment(9, "held-out rows")


def test_too_few_rows_in_a_batch() -> None:
    with pytest.raises(JobRefused, match=r"9 rows.* 10 \(`min_batch_rows`\).*`batch_size`"):
        Policy().check_batches(9, {"shop": 1, "bank": 1}, "sgd")
    Policy().check_batches(10, {"shop": 1, "bank": 1}, "sgd")
    Policy(min_batch_rows=4).check_batches(4, {"shop": 1, "bank": 1}, "sgd")


def test_a_batch_has_more_rows_than_a_round_has_equations_whatever_the_policy() -> None:
    # X^T d has a row for each of 11 columns, sum d^2 is one more: over 12 rows they can be solved.
    policy, columns = Policy(min_batch_rows=1), {"shop": 3, "bank": 11, "credit": 2}
    for rows in (1, 11, 12):
        with pytest.raises(JobRefused, match=rf"{rows} rows, and bank trains 11 columns.*at least 13.*`batch_size`"):
            policy.check_batches(rows, columns, "sgd")
    policy.check_batches(13, columns, "sgd")
    # With `gram` the label has a mean that is known: one equation more.
    policy.check_batches(14, columns, "gram")
    with pytest.raises(JobRefused, match="at least 14 rows"):
        policy.check_batches(13, columns, "gram")


@pytest.mark.parametrize(
    "fields",
    [
        {"min_aligned_row": 5},
        {"min_rows": 0},
        {"min_aligned_rows": 0},
        {"min_batch_rows": 0},
        {"insecure_for_tests": "no"},
    ],
)
def test_a_misspelt_or_senseless_setting_is_no_policy(fields: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(fields, Policy)


def test_a_policy_does_not_change() -> None:
    with pytest.raises(AttributeError):
        Policy().min_aligned_rows = 1  # type: ignore[misc]
