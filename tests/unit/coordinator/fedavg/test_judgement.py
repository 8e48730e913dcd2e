"""What a report of federated averaging warns of, and when a job fails for its clipping."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from coordinator.fedavg import judgement
from coordinator.fedavg.progress import Course
from fedbus.algorithms import registry
from fedbus.algorithms.fedavg.spec import AverageJob, Data
from fedbus.errors import JobFailed


def spec(**params: Any) -> AverageJob:
    parties = [{"party": name, "dataset": "rows", "test": "held"} for name in ("bob", "alice")]
    made = registry.parse(
        {
            "name": "some", "algorithm": "fedavg", "label": "y", "parties": parties,
            "model": {"layers": [{"linear": 1}]}, "params": {"rounds": 9, **params},
        }
    )  # fmt: skip
    assert isinstance(made, AverageJob)
    return made


def course(**fields: Any) -> Course:
    given: dict[str, Any] = {"trained": 2, "evaluated": True, "clipped": [0.0, 0.0], "members": [2, 2], **fields}
    given = {"loss": [4.0, 2.0], "test_loss": [5.0, 4.0, 3.0], "baseline": 4.0, **given}
    return Course(("a",), [0, 0], {"bob": 5, "alice": 5}, {"bob": 2, "alice": 2}, 1, np.zeros(1), np.ones(1), **given)


def said(of: Course, **params: Any) -> list[str]:
    return judgement.warnings(of, spec(**params), 100, best=True)


def test_a_sound_course_warns_of_nothing() -> None:
    assert said(course(best=3.0, best_model=2)) == []


def test_a_label_of_one_value() -> None:
    assert said(course(label_constant=True)) == [
        "The label 'y' has the same value in all rows of all parties: nothing was learnt."
    ]


def test_worse_than_the_mean() -> None:
    (sentence,) = said(course(test_loss=[50.0, 3.0, 8.0], best=3.0, best_model=1))
    assert "worse than always predicting the mean of the label" in sentence
    assert "is 8, and that of the mean 4 (R2 -1)" in sentence
    assert "The best model, after round 1, has 3" in sentence
    # Without held-out rows the rows of training tell.
    fields: dict[str, Any] = {"test_loss": [], "evaluated": False, "baseline": None, "label_scale": 1.1}
    alone = course(**fields)
    alone.test_rows = {}
    (sentence,) = said(alone)
    assert "in its last round of training the mean squared error was 2, and that of the mean is 1.21" in sentence


def test_worse_than_the_most_frequent_class() -> None:
    fields = {"test_loss": [0.7, 0.6, 0.5], "test_correct": [0.5, 0.7, 0.8]}
    (sentence,) = said(course(baseline=0.9, **fields), loss="bce")
    assert "right in 80.00%, and the most frequent class in 90.00%" in sentence
    assert said(course(baseline=0.8, **fields), loss="bce") == []
    # Of rows of one class there is nothing better than to answer with it.
    assert said(course(baseline=1.0, **fields), loss="bce") == []


def test_a_loss_that_grew() -> None:
    (sentence,) = said(course(test_loss=[2.0, 1.0, 3.0], best=1.0, best_model=1))
    assert sentence.startswith("The loss on held-out rows grew, from 2 at first to 3 at the end.")


def test_clipping() -> None:
    # One entry of 400.
    assert said(course(clipped=[0.005, 0.0])) == []
    (sentence,) = said(course(clipped=[0.2, 0.1]))
    assert sentence.startswith("15.00% of the entries of the parties' updates were beyond params.clip_range (8)")
    assert "raise params.clip_range" in sentence
    assert "standardise" not in sentence
    raw = msgspec.structs.replace(spec(), data=Data(standardize_label=False))
    assert "standardise the label (data.standardize_label)" in judgement.warnings(
        course(clipped=[0.2, 0.1]), raw, 100, best=True
    )[-1]  # fmt: skip


def test_clipping_is_told_once_when_it_begins() -> None:
    assert judgement.clipped_now(course(clipped=[0.0, 0.001]), spec()) == ""
    assert judgement.clipped_now(course(clipped=[0.0, 0.3]), spec()).startswith("30% of the entries of the updates of")
    assert judgement.clipped_now(course(clipped=[0.3, 0.3]), spec()) == ""


def test_a_job_in_which_most_entries_are_cut_fails() -> None:
    judgement.check_clipped(course(clipped=[1.0, 1.0]), spec())
    judgement.check_clipped(course(clipped=[1.0, 0.2, 0.2]), spec())
    for clipped, rounds in (([1.0, 1.0, 1.0], 9), ([0.6], 1)):
        with pytest.raises(JobFailed, match=r"% of the entries .* were cut, .* raise params\.clip_range"):
            judgement.check_clipped(course(clipped=clipped), spec(rounds=rounds))
