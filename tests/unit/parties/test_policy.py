"""A party's consent: what it refuses, and that it names the setting and the remedy."""

from __future__ import annotations

import msgspec
import pytest

from fedbus.algorithms import registry
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


def test_defaults_accept_a_sound_job() -> None:
    Policy().check_job(job("vertical-linear", 2048, False))
    Policy(insecure_for_tests=True).check_job(job("vertical-linear", 512, True))


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
