"""Requests that are none: dead letters once, and whoever waits for an answer gets one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench import WAIT, Bench, states, watching

from fedbus import codec, topology
from fedbus.algorithms import registry
from fedbus.broker.base import Outgoing
from fedbus.errors import ConfigError
from fedbus.job import UNKNOWN, JobSpec
from fedbus.messages.control import Query, Submit
from fedbus.messages.envelope import Envelope
from keyring import crafted


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.admin.close()
    bench.store.close()


def publish(bench: Bench, body: bytes, user: str = "alice") -> None:
    broker = bench.connect(user)
    broker.publish(Outgoing(topology.JOBS, topology.SUBMIT, body, "m")).result(WAIT)
    broker.close()


def submission(spec: Any, job: str = "job-1", sender: str = "alice") -> bytes:
    """A submission whose job file may be anything."""
    return crafted(Envelope(job, sender, "coordinator", Submit({}, bytes(64))), {"spec": spec, "signature": bytes(64)})


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ([1, 2], "malformed submit message of alice: spec: Expected `object`, got `array`"),
        (None, "malformed submit message of alice: spec"),
        ({"spec": 1, b"x": 2}, "malformed submit message of alice: a key of spec"),
    ],
)
def test_a_submission_that_cannot_be_read_is_a_job_that_failed(bench: Bench, spec: Any, reason: str) -> None:
    with bench.serving(), watching(bench, "alice") as alice:
        publish(bench, submission(spec))
        assert bench.dead.get(timeout=WAIT).startswith(reason)
        (told,) = states(alice, "job-1")
        assert (told.state, told.reason.startswith(reason)) == ("failed", True)
        assert [line.state for line in alice.jobs().jobs] == ["failed"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (np.arange(3.0), "malformed submit message of alice: spec.model.arguments"),
        ({"a": np.zeros(1)}, "malformed submit message of alice: spec.model.arguments.a"),
        ({"a": 2**64 - 1}, "job: model.arguments.a: a number of more than 64 bits"),
    ],
)
def test_a_job_that_no_file_can_describe_is_refused_by_name(bench: Bench, arguments: Any, reason: str) -> None:
    fields = {"name": "x", "algorithm": "fedavg", "model": {"factory": "a:b", "arguments": arguments}}
    with bench.serving(), watching(bench, "alice") as alice:
        publish(bench, submission(fields))
        (told,) = states(alice, "job-1")
    assert (told.state, told.reason.startswith(reason)) == ("failed", True)


def test_nobody_enters_a_job_for_another(bench: Bench) -> None:
    with bench.serving(), watching(bench, "alice") as alice:
        publish(bench, submission([1]), user="mallory")
        assert "submit request of alice by mallory" in bench.dead.get(timeout=WAIT)
        # The broker says that it is hers, the seal does not.
        publish(bench, crafted(Envelope("job-1", "alice", "coordinator", Query()), {}, by="mallory"))
        assert "does not open" in bench.dead.get(timeout=WAIT)
        publish(bench, codec.encode(Envelope("job-1", "alice", "coordinator", Submit({}, bytes(64)))))
        assert "submit message that is not sealed" in bench.dead.get(timeout=WAIT)
        assert [told.state for told in states(alice, "job-1")] == [UNKNOWN]


def test_a_job_that_is_there_does_not_end_by_a_second_submission(bench: Bench) -> None:
    with bench.serving(), watching(bench, "alice") as alice:
        job = alice.submit(bench.spec)
        publish(bench, submission([1], job))
        assert "malformed submit" in bench.dead.get(timeout=WAIT)
        record = bench.store.job(job)
        assert record is not None
        assert record.state.value != "failed"


def test_a_long_request_is_refused_unread(bench: Bench) -> None:
    with bench.serving(), watching(bench, "alice") as alice:
        publish(bench, b"\xdd\x00\x0f\x00\x00" + bytes(70_000))
        assert "request of 70005 bytes is over the limit of 65536" in bench.dead.get(timeout=WAIT)
        with pytest.raises(ConfigError, match=r"70,.* bytes to submit; 65,536 are allowed"):
            alice.submit(long_job(bench.spec))


def long_job(spec: JobSpec) -> JobSpec:
    """A job whose file is longer than a message may be."""

    class Long(type(spec)):  # type: ignore[misc]
        def to_map(self) -> dict[str, Any]:
            return {"name": "x" * 70_000}

    return Long(**{field: getattr(spec, field) for field in spec.__struct_fields__})  # type: ignore[no-any-return]


def test_a_query_that_cannot_be_read_is_a_dead_letter_only(bench: Bench) -> None:
    with bench.serving(), watching(bench, "alice") as alice:
        publish(bench, crafted(Envelope("job-1", "alice", "coordinator", Query()), {"x": 1}))
        assert "query does not have" in bench.dead.get(timeout=WAIT)
        assert [told.state for told in states(alice, "job-1")] == [UNKNOWN]


def test_files_say_numbers_that_messages_carry(tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_text(
        f'name = "x"\nalgorithm = "fedavg"\nlabel = "y"\nparties = []\n[params]\nbatch_size = {2**64}\n', "utf-8"
    )
    with pytest.raises(ConfigError, match=r"params\.batch_size: a number of more than 64 bits"):
        registry.load(file)
