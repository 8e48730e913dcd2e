"""Who keeps a job waiting is told to whoever watches it, long before any limit ends the job; and when it is back."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedbus.broker.node.node import Node
from fedbus.client import Client
from fedbus.messages.control import Event, Notice, Progress, StateChanged
from fedbus.service.process import script
from fedbus.statuses import Status
from keyring import key_files
from processes import WAIT, Processes, small
from rows import synthetic

Start = Callable[..., Processes]


def told(events: Iterator[Event], sentence: str) -> str:
    """The next notice that says this, before the job ends."""
    for event in events:
        if isinstance(event, Notice) and re.search(sentence, event.text):
            return event.text
        assert not (isinstance(event, StateChanged) and event.state in ("succeeded", "failed")), event
    raise AssertionError("unreachable")


def ended(events: Iterator[Event]) -> StateChanged:
    return [event for event in events if isinstance(event, StateChanged)][-1]


@pytest.mark.parametrize("victim", ["shop", "bank"])
def test_a_party_killed_in_a_vertical_round_is_named_and_its_return_too(
    tmp_path: Path, processes: Start, client: Client, victim: str
) -> None:
    running = processes(small(tmp_path))
    running.start_all()
    events = client.watch(client.submit(running.federation.spec()), WAIT)
    next(event for event in events if isinstance(event, Progress) and event.round >= 3)
    running.end(victim, signal.SIGKILL)
    notice = told(events, f"waiting for {victim}: no sign of life since")
    found = re.search(r", (\d+) s ago", notice)
    assert found is not None
    assert int(found[1]) <= 15
    running.start(victim)
    told(events, f"{victim} is there again")
    assert ended(events).state == "succeeded"


def test_a_party_killed_in_averaging_is_named_before_the_deadline(
    tmp_path: Path, processes: Start, client: Client
) -> None:
    rows = synthetic(tmp_path, rounds=60)
    rows.introduce()
    running = processes(rows)
    running.start_all()
    events = client.watch(client.submit(running.federation.spec()), WAIT)
    next(event for event in events if isinstance(event, Progress) and event.round >= 3)
    running.end("carol", signal.SIGKILL)
    # The deadline of a round is 60 s.
    told(events, "waiting for carol: no sign of life since .* UTC, [0-9]{1,2} s ago")
    running.start("carol")
    assert ended(events).state == "succeeded"


def test_a_party_that_is_not_there_to_join_is_named(tmp_path: Path, processes: Start, client: Client) -> None:
    running = processes(small(tmp_path))
    running.start("coordinator", "shop")
    events = client.watch(client.submit(running.federation.spec()), WAIT)
    told(events, "waiting for bank: no sign of life since")
    running.start("bank")
    assert ended(events).state == "succeeded"


def test_a_party_that_the_coordinator_does_not_know_ends_the_job_at_once(
    tmp_path: Path, processes: Start, client: Client
) -> None:
    running = processes(small(tmp_path))
    running.start("coordinator", "shop")
    job = running.federation.job_file
    job.write_text(job.read_text().replace('"bank"', '"bnak"'))
    last = ended(client.watch(client.submit(running.federation.spec()), WAIT))
    assert last.state == "failed"
    assert "'bnak' is not on the roster; did you mean 'bank'? Otherwise its operator's public key has to" in last.reason


def test_what_is_asked_of_a_coordinator_that_is_down_is_said_to_wait_and_then_done(
    tmp_path: Path, processes: Start, node: Node, client: Client
) -> None:
    running = processes(small(tmp_path))
    own = key_files(tmp_path / "keys", "client").environment()
    environment = {**os.environ, "FEDBUS_AMQP_URL": node.url("client"), **own}

    def fedbus(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*script("fedbus"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=WAIT)

    submitted = fedbus("submit", str(running.federation.job_file))
    assert submitted.returncode == 0, submitted.stderr
    assert "the job is queued, and no coordinator has answered within 5 s" in submitted.stderr
    job = submitted.stdout.strip()
    cancelled = fedbus("cancel", job)
    assert cancelled.returncode == 0, cancelled.stderr
    assert (
        f"the cancellation of {job} is queued and takes effect as soon as the coordinator is back" in cancelled.stderr
    )
    for command in (("watch", job), ("submit", str(running.federation.job_file), "--watch")):
        following = subprocess.Popen(
            [*script("fedbus"), *command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert following.stderr is not None
        # The job's id, or that nobody answers.
        line = following.stderr.readline()
        followed = job if command[0] == "watch" else line.strip()
        following.send_signal(signal.SIGINT)
        _, said = following.communicate(timeout=WAIT)
        assert following.returncode == Status.INTERRUPTED
        assert f"the job goes on; `fedbus watch {followed}` follows it again" in said
    events = client.watch(job, WAIT)
    told(events, "no word from the coordinator for 1[0-9] s")
    running.start("coordinator", "shop", "bank")
    told(events, "the coordinator answers again")
    last = ended(events)
    assert (last.state, last.reason) == ("cancelled", "cancelled by client")
