"""The coordinator's part in training, and that its report always fits one message."""

from __future__ import annotations

import math
from typing import Any

import pytest

from coordinator.vertical.training import Training, check_rounds
from fedbus import codec
from fedbus.algorithms.linear.spec import LinearJob, LinearParams
from fedbus.algorithms.vertical.job import Guest, Host
from fedbus.algorithms.vertical.messages import Verdict
from fedbus.errors import JobRefused
from fedbus.job import MAX_ROUNDS
from fedbus.messages.control import Accepted, StateChanged
from fedbus.messages.envelope import Envelope


def job(params: LinearParams) -> LinearJob:
    hosts = (Host(party="bank", dataset="rows"),)
    guest = Guest(party="shop", dataset="rows", label="y")
    return LinearJob(name="j", algorithm="vertical-linear", guest=guest, hosts=hosts, params=params)


def test_a_report_of_the_longest_job_of_all_parties_is_one_message() -> None:
    training = Training(10_000_000, 10_000_000, {"shop": 1}, 40)
    training.losses = training.seconds = [math.pi] * MAX_ROUNDS
    said: dict[str, Any] = {}
    for number in range(65):
        party = f"{number:064}"
        accepted = Accepted({"train": 10**7, "test": 10**7}, 10**5, "http://" + "m" * 290)
        codec.decode(codec.encode(Envelope("j", party, "c", accepted)))
        said[party] = {"rows": accepted.rows, "columns": accepted.columns, "metrics": accepted.metrics}
    report = {"reason": "x" * 8_192, "parties": said, **training.figures(Verdict(0.5, stop=True, converged=False))}
    body = codec.encode(Envelope("j", "c", "c", StateChanged("succeeded", "x" * 8_192, report)))
    assert len(body) > 8 * MAX_ROUNDS


@pytest.mark.parametrize(("rows", "params"), [(10**6, LinearParams(max_epochs=100_000)), (10**18, LinearParams())])
def test_as_many_rounds_as_a_report_holds(rows: int, params: LinearParams) -> None:
    check_rounds(rows, job(params))


@pytest.mark.parametrize(("rows", "batch_size", "epochs"), [(201_000, 1000, 500), (10**18, 1, 1), (20_010, 10, 50)])
def test_more_rounds_than_a_report_holds_are_refused(rows: int, batch_size: int, epochs: int) -> None:
    rounds = rows // batch_size * epochs
    params = LinearParams(batch_size=batch_size, max_epochs=epochs)
    with pytest.raises(JobRefused, match=rf"`max_epochs` of {epochs} .* {rounds} rounds.*100000 at most.*`batch_size`"):
        check_rounds(rows, job(params))
