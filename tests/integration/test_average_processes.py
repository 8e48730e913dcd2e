"""Federated averaging between real processes on a real RabbitMQ: killed, stopped for good, and without one of them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fedbus.client import Client
from processes import Processes, follow
from rows import Rows, synthetic

Start = Callable[..., Processes]


def job(folder: Path, **params: Any) -> Rows:
    """A job of 30 rounds that asks for what a killed participant owes after a second."""
    rows = synthetic(folder, **{"rounds": 30, **params})
    rows.limits = {"resend": 1.0}
    return rows


def test_killed_processes_go_on_and_the_model_is_the_same(tmp_path: Path, processes: Start, client: Client) -> None:
    (tmp_path / "undisturbed").mkdir()
    undisturbed = job(tmp_path / "undisturbed")
    expected = undisturbed.run()
    weights = undisturbed.model(expected["job"], "bob").flat
    rows = job(tmp_path)
    rows.introduce()
    running = processes(rows)
    running.start_all()

    def killed(name: str) -> Callable[[], None]:
        def kill() -> None:
            running.end(name, signal.SIGKILL)
            running.start(name)

        return kill

    # Each of them twice, in one job: every start of a party loads PyTorch.
    victims = 2 * ("coordinator", "bob", "carol")
    kills = {3 + 2 * number: killed(name) for number, name in enumerate(victims)}
    report = follow(client, client.submit(rows.spec()), kills, rows.parties)
    assert report["state"] == "succeeded", report
    # Nobody was away for longer than the deadline, so no update is missing and every weight is as it would have been.
    assert report["missing"] == [0] * 30
    np.testing.assert_allclose(report["test_loss"], expected["test_loss"], rtol=1e-6)
    assert set(running.end_all().values()) == {0}
    for party in rows.parties:
        np.testing.assert_allclose(rows.model(report["job"], party).flat, weights, atol=1e-6)


def test_a_party_that_stays_away_is_left_out_and_the_others_go_on(
    tmp_path: Path, processes: Start, client: Client
) -> None:
    rows = job(tmp_path, deadline=5.0)
    rows.introduce()
    running = processes(rows)
    running.start_all()
    report = follow(
        client, client.submit(rows.spec()), {4: lambda: running.end("carol", signal.SIGKILL)}, ["bob", "alice"]
    )
    assert report["state"] == "succeeded", report
    assert report["rounds"] == 30
    # In one round it is asked in vain, from then on not at all.
    assert report["missing"].count(1) == 1
    assert report["members"][-1] == 2
    assert report["left_out"].keys() == {"carol"}
    assert set(running.end_all().values()) == {0}
    np.testing.assert_array_equal(rows.model(report["job"], "bob").flat, rows.model(report["job"], "alice").flat)


def test_a_party_that_comes_back_takes_part_again(tmp_path: Path, processes: Start, client: Client) -> None:
    rows = job(tmp_path, deadline=5.0, rounds=200)
    rows.introduce()
    running = processes(rows)
    running.start_all()
    report = follow(
        client,
        client.submit(rows.spec()),
        # The round in which she is asked in vain comes to its end first.
        {4: lambda: running.end("carol", signal.SIGKILL), 20: lambda: running.start("carol")},
        rows.parties,
    )
    assert report["state"] == "succeeded", report
    assert 2 in report["members"]
    assert report["members"][-1] == 3
    assert set(running.end_all().values()) == {0}
    np.testing.assert_array_equal(rows.model(report["job"], "bob").flat, rows.model(report["job"], "carol").flat)
