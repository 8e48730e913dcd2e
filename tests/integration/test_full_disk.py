"""A disk that is full: nothing is lost or given up, whoever watches hears who waits, and with room the job goes on.

The system refuses to let the process's files grow, which SQLite meets as it does a full disk, and any user may set.
"""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from fedbus.client import Client
from fedbus.messages.control import Notice, Progress, StateChanged
from processes import WAIT, Processes, small

Start = Callable[..., Processes]


@contextlib.contextmanager
def full_disk(running: Processes, name: str, most_bytes: int) -> Iterator[None]:
    """Let no file of a process grow beyond so many bytes; its log and all else it writes have to fit."""
    child = running.running[name].pid
    soft, hard = resource.prlimit(child, resource.RLIMIT_FSIZE)
    resource.prlimit(child, resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.prlimit(child, resource.RLIMIT_FSIZE, (soft, hard))


def test_a_party_waits_for_room_and_the_result_is_the_same(tmp_path: Path, processes: Start, client: Client) -> None:
    (tmp_path / "undisturbed").mkdir()
    undisturbed = small(tmp_path / "undisturbed")
    expected = undisturbed.weights(undisturbed.run()["job"])[0]
    federation = small(tmp_path)
    running = processes(federation)
    running.start_all()
    job = client.submit(federation.spec())
    notices, report = [], None
    with contextlib.ExitStack() as limits:
        for event in client.watch(job, WAIT):
            if isinstance(event, Progress) and event.round == 3:
                limits.enter_context(full_disk(running, "bank", 100_000))
            elif isinstance(event, Notice):
                notices.append(event.text)
                limits.close()
            elif isinstance(event, StateChanged):
                report = event.report
    assert notices == [
        "bank: its disk is full; it goes on when there is room",
        "bank: its disk has room again; it goes on",
    ]
    assert report is not None
    assert report["state"] == "succeeded"
    assert not client.wait_ended(job, ("shop", "bank"), WAIT)
    running.end_all()
    np.testing.assert_array_equal(federation.weights(job)[0], expected)


def test_submissions_and_cancellations_wait_for_room_in_their_order(
    tmp_path: Path, processes: Start, client: Client
) -> None:
    federation = small(tmp_path, max_epochs=3)
    running = processes(federation)
    running.start_all()

    def states(job: str) -> list[str]:
        return [event.state for event in client.watch(job, WAIT) if isinstance(event, StateChanged)]

    with full_disk(running, "coordinator", 12_000):
        first, second = client.submit(federation.spec()), client.submit(federation.spec())
        client.cancel(second)
        for job in (first, second):
            event = next(client.watch(job, WAIT))
            assert isinstance(event, Notice)
            assert "the coordinator's store cannot be written" in event.text
    assert states(first)[-1] == "succeeded"
    assert states(second)[-1] == "cancelled"
    assert "fedbus_dead_letters_total 0.0" in running.metrics("coordinator")
