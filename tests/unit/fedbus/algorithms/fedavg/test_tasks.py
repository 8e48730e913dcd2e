"""The vectors of each task of federated averaging, which both sides lay out alike."""

from __future__ import annotations

import pytest

from fedbus.algorithms import registry
from fedbus.algorithms.fedavg import moments
from fedbus.algorithms.fedavg.messages import Task
from fedbus.algorithms.fedavg.spec import AverageJob
from fedbus.algorithms.fedavg.tasks import METRICS, SUMMED, row_shares, sum_layout


def job(**params: object) -> AverageJob:
    spec = registry.parse(
        {
            "name": "job",
            "algorithm": "fedavg",
            "label": "y",
            "parties": [{"party": name, "dataset": "rows"} for name in ("bob", "alice", "carol")],
            "model": {"layers": [{"linear": 3 if params.get("loss") == "cross_entropy" else 1}]},
            "params": params,
        }
    )
    assert isinstance(spec, AverageJob)
    return spec


def test_each_task_that_sums_has_a_layout_of_its_name() -> None:
    assert {*SUMMED} | {Task.INITIALISE, Task.CONCLUDE} == {*Task}
    for task in SUMMED:
        assert sum_layout(job(), task.value, 5, 40).task == task.value


def test_what_is_in_a_vector() -> None:
    lengths = {task: sum_layout(job(), task, 5, 40, 1) for task in SUMMED}
    assert (lengths[Task.MEAN].numbers, lengths[Task.MEAN].metrics) == (5 * moments.LIMBS, 0)
    # A variance is the mean square and what the mean lost when it was rounded.
    assert (lengths[Task.VARIANCE].numbers, lengths[Task.VARIANCE].metrics) == (2 * 5 * moments.LIMBS, 0)
    assert (lengths[Task.TRAIN].numbers, lengths[Task.TRAIN].metrics) == (40, METRICS)
    # The positive part, the negative part and the square of the label.
    assert (lengths[Task.EVALUATE].numbers, lengths[Task.EVALUATE].metrics) == (0, METRICS + 3)
    classes = sum_layout(job(loss="cross_entropy"), Task.EVALUATE, 5, 40, 3)
    assert classes.metrics == METRICS + 3


def test_tasks_of_one_length_are_told_apart_by_their_names_only() -> None:
    # 10 columns have means as long as the variances of 5: a length says nothing of the task.
    one, other = sum_layout(job(), Task.MEAN, 10, 40), sum_layout(job(), Task.VARIANCE, 5, 40)
    assert (one.length, one.ring) == (other.length, other.ring)
    assert one != other


@pytest.mark.parametrize(("parameters", "bits"), [(65_536, 64), (65_537, 32)])
def test_short_updates_have_entries_of_64_bits(parameters: int, bits: int) -> None:
    assert sum_layout(job(), Task.TRAIN, 5, parameters).ring.dtype.itemsize * 8 == bits


def test_shares_of_rows() -> None:
    assert row_shares({"bob": 1, "alice": 3}) == {"bob": 0.25, "alice": 0.75}
    assert row_shares({"bob": 0, "alice": 0}) == {"bob": 0.0, "alice": 0.0}
