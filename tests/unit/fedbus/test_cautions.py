"""What a report says first of a model that is worth less than the state of its job suggests."""

from __future__ import annotations

from typing import Any

import pytest

from fedbus.algorithms import registry
from fedbus.cli.report import print_report
from fedbus.report import Report


def report(**changes: Any) -> Report:
    """Of a job of two parties, as the coordinator makes it."""
    fields = {
        "job": "some-job",
        "algorithm": "vertical-linear",
        "state": "succeeded",
        "seconds": 1.0,
        "rows": {"shop": {"train": 10, "test": 0}, "bank": {"train": 10, "test": 0}},
        "aligned_rows": 10,
        "rounds": 2,
        "epochs": 2,
        "converged": True,
        "loss": [2.0, 1.0],
        "final_loss": 1.0,
        "train": {"mse": 2.0, "rmse": 2.0**0.5, "r2": 0.5},
        "round_latency_seconds": {"p50": 0.1, "p99": 0.1},
        "bytes_sent": {"shop": 1, "bank": 1},
        "metrics": {"shop": "a", "bank": "b"},
        **changes,
    }
    return registry.read_report(fields)


def test_a_sound_report_warns_of_nothing() -> None:
    assert report().cautioned().warnings == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train": {"mse": 9.0, "rmse": 3.0, "r2": -1.25}}, "predicts the training rows worse than the mean"),
        ({"test": {"mse": 9.0, "rmse": 3.0, "r2": -0.01}}, "predicts the held-out rows worse than the mean"),
        ({"loss": [1.0, None, 2.0], "final_loss": 2.0}, "The loss grew in training, from 1 to 2"),
    ],
)
def test_a_model_worse_than_none_is_what_the_report_says_first(
    changes: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    poor = report(**changes).cautioned().cautioned()
    (sentence,) = poor.warnings
    assert said in sentence
    print_report(poor)
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("warning")
    assert said in first


def test_rounding_is_not_worse_than_the_mean() -> None:
    level = report(train={"mse": 1.0, "rmse": 1.0, "r2": -1e-16}, loss=[1.0], final_loss=1.0 + 1e-15)
    assert level.cautioned().warnings == []


def test_a_job_of_no_round_and_an_undefined_score_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(report(rounds=0, loss=[], final_loss=0.0, train={"mse": 0.0, "rmse": 0.0, "r2": None}))
    printed = capsys.readouterr().out
    assert "loss           0 at the end\n" in printed
    assert "R2 undefined" in printed
