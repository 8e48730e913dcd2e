"""Job files: what is accepted, and errors that name the key and the nearest known one."""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from fedbus.algorithms import registry
from fedbus.algorithms.fedavg.spec import AverageJob
from fedbus.errors import ConfigError, JobRefused
from fedbus.job import new_id
from fedbus.names import JOB_ID
from parties.fedavg import network

JOB: dict[str, Any] = {
    "name": "house-prices",
    "algorithm": "vertical-linear",
    "guest": {"party": "shop", "dataset": "products", "label": "MEDV"},
    "hosts": [{"party": "bank", "dataset": "users"}],
    "params": {"solver": "sgd", "key_bits": 2048, "tolerance": 1e-6},
}


def changed(path: str, value: object) -> dict[str, Any]:
    fields = deepcopy(JOB)
    place: Any = fields
    *outer, last = path.split(".")
    for key in outer:
        place = place[int(key)] if key.isdigit() else place[key]
    place[last] = value
    return fields


def test_the_documented_job_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_text(
        'name = "house-prices"\nalgorithm = "vertical-linear"\n'
        '[guest]\nparty = "shop"\ndataset = "products"\nlabel = "MEDV"\n'
        '[[hosts]]\nparty = "bank"\ndataset = "users"\n'
        '[params]\nsolver = "sgd"\nkey_bits = 2048\ntolerance = 1e-6\n'
    )
    spec = registry.load(file)
    assert spec == registry.parse(JOB)
    assert spec.parties == ("shop", "bank")
    assert spec.participants == ("shop", "bank", "coordinator")


def test_a_specification_survives_sending() -> None:
    spec = registry.parse(changed("params.batch_size", 64))
    assert registry.parse(spec.to_map()) == spec


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        ("algorithm", "vertical-liner", "algorithm: unknown 'vertical-liner'; did you mean 'vertical-linear'"),
        ("params.tolerence", 1e-6, "unknown key 'params.tolerence'; did you mean 'tolerance'"),
        ("parms", {}, "unknown key 'parms'; did you mean 'params'"),
        ("hosts.0.datset", "users", r"unknown key 'hosts\[0\]\.datset'; did you mean 'dataset'"),
        ("params.solver", "sdg", "params.solver: unknown 'sdg'; did you mean 'sgd'"),
        ("params.optimizer", "adm", "params.optimizer: unknown 'adm'; did you mean 'adam'"),
        ("params.learning_rate", -1.0, "params.learning_rate"),
        ("params.learning_rate", "fast", "params.learning_rate"),
        ("params.max_epochs", 0, "params.max_epochs"),
        ("params.batch_size", 0, "params.batch_size"),
        ("params.max_epochs", 100_001, "params.max_epochs: Expected a whole number <= 100000"),
        ("params.momentum", 1.0, "params.momentum"),
        ("params.l2", -0.1, "params.l2"),
        ("params.key_bits", 1024, "params.key_bits: 1024 is below 2048.*insecure_for_tests"),
        ("params.key_bits", 256, "params.key_bits"),
        ("hosts", [], "hosts"),
        ("hosts.0.party", "shop", "one role only"),
        ("guest.party", "Shop 1", "guest.party"),
        ("guest.test", "products_test", "`test` names held-out rows at every party or at none"),
        ("params.learning_rate", math.inf, "params.learning_rate: Expected a number <= 1"),
        ("params.l2", math.nan, "params.l2: Expected a number"),
        ("params.batch_size", 2**40, "params.batch_size: Expected a whole number <= 2147483647"),
        ("params.patience", 2**64, "params.patience: a number of more than 64 bits"),
        ("limits", {"join": math.inf}, "limits.join: Expected a number <= 604800"),
        ("limits", {"silence": 1e-300}, "limits.silence: Expected a number >= 0.05"),
        ("limits", {"silence": 1e300}, "limits.silence: Expected a number <= 604800"),
        ("limits", {"resend": 1e-300}, "limits.resend: Expected a number >= 0.05"),
        ("limits", {"resend": math.inf}, "limits.resend: Expected a number <= 3600"),
        ("guest.party", "shop\n", "guest.party"),
        ("limits", {"joins": 1}, "unknown key 'limits.joins'; did you mean 'join'"),
    ],
)
def test_a_wrong_value_is_refused_by_name(path: str, value: object, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        registry.parse(changed(path, value), "job.toml")


@pytest.mark.parametrize("missing", ["name", "algorithm", "guest", "hosts"])
def test_a_missing_key_is_named(missing: str) -> None:
    fields = {key: value for key, value in JOB.items() if key != missing}
    with pytest.raises(ConfigError, match=f"job.toml: missing key '{missing}'"):
        registry.parse(fields, "job.toml")


def test_short_keys_only_where_the_job_says_so() -> None:
    fields = changed("params.key_bits", 512)
    fields["params"]["insecure_for_tests"] = True
    assert registry.parse(fields).params.key_bits == 512
    at_the_top = {**changed("params.key_bits", 512), "insecure_for_tests": True}
    assert registry.parse(at_the_top).params.insecure_for_tests


@pytest.mark.parametrize(("text", "error"), [("name = ", "not valid TOML"), (None, "no such file")])
def test_an_unreadable_file_is_named(tmp_path: Path, text: str | None, error: str) -> None:
    file = tmp_path / "job.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=rf"job\.toml: {error}"):
        registry.load(file)


def test_ids_are_unique_and_fit_a_queue_name() -> None:
    ids = {new_id("House prices, Köln!") for _ in range(100)}
    assert len(ids) == 100
    assert all(JOB_ID.fullmatch(job) for job in ids)
    assert JOB_ID.fullmatch(new_id("日本"))


AVERAGE = {
    "name": "rows",
    "algorithm": "fedavg",
    "label": "y",
    "parties": [{"party": "bob", "dataset": "rows"}, {"party": "alice", "dataset": "rows"}],
}


def test_a_network_that_nobody_has_room_for_is_refused_before_it_is_built() -> None:
    wide = [{"linear": 1_000_000}, {"linear": 1_000_000}, {"linear": 1}]
    with pytest.raises(ConfigError, match=r"model\.layers: the network has 1,000,004,000,001 parameters"):
        registry.parse({**AVERAGE, "model": {"layers": wide}}, "job.toml")
    spec = registry.parse({**AVERAGE, "model": {"layers": [{"linear": 200_000_000 // 1000}, {"linear": 1}]}})
    assert isinstance(spec, AverageJob)
    with pytest.raises(JobRefused, match=r"on 5000 features the network has 1,000,400,001 parameters"):
        network.build(spec.model, 5000, 1)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("params", "deadline", math.inf),
        ("params", "deadline", 1e-300),
        ("params", "batch_size", 2**62),
        ("params", "min_clients", 2**62),
        ("params", "clip_range", 1e-300),
        ("privacy", "noise_multiplier", math.inf),
        ("privacy", "epsilon", 1e-300),
        ("privacy", "delta", 1e-300),
        ("strategy", "byzantine", 2**62),
        ("model", "arguments", {"width": 2**70}),
    ],
)
def test_what_goes_beyond_all_bounds_is_refused_by_name(section: str, key: str, value: object) -> None:
    fields: dict[str, Any] = {**AVERAGE, "model": {"factory": "nets:make"}}
    fields["privacy"] = {"noise_multiplier": 1.0, "epsilon": 1.0, "delta": 1e-5}
    fields[section] = {**fields.get(section, {}), key: value}
    with pytest.raises(ConfigError, match=rf"job\.toml: {section}\.{key}"):
        registry.parse(fields, "job.toml")
