"""Refused messages: each a dead letter that is counted, and few lines in the log."""

from __future__ import annotations

from concurrent.futures import Future

import pytest
from structlog.testing import capture_logs

from fedbus import metrics, seldom, topology
from fedbus.broker.base import Delivery, Outgoing
from fedbus.broker.memory.broker import MemoryHub
from fedbus.errors import DecodeError, JobRefused
from fedbus.refusals import Refusals


def deliveries(count: int) -> list[Delivery]:
    hub = MemoryHub()
    broker = hub.connect("coordinator")
    broker.declare([topology.dead_queue(), topology.job_queue("bank", "j")])
    came: list[Delivery] = []
    last: Future[None] = Future()

    def take(delivery: Delivery) -> None:
        came.append(delivery)
        if len(came) == count:
            last.set_result(None)

    broker.consume(topology.job_queue("bank", "j").name, take)
    for number in range(count):
        broker.publish(Outgoing(topology.DATA, "coordinator.bank.j", b"x", f"{number}")).result(5)
    last.result(5)
    return came


def counted(why: str) -> float:
    return metrics.refused.labels(why)._value.get()  # type: ignore[no-any-return]


def test_each_is_counted_by_its_reason_and_one_of_a_kind_is_logged_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(seldom.time, "monotonic", lambda: now)
    letters, refusals = deliveries(5), Refusals("message", job="j")
    before = {why: counted(why) for why in ("seal", "job")}
    with capture_logs() as logs:
        for letter, error in zip(
            letters[:4],
            [
                DecodeError("one", why="seal"),
                DecodeError("two", why="seal"),
                JobRefused("no"),
                DecodeError("3", why="seal"),
            ],
            strict=True,
        ):
            refusals.refuse(letter, error)
        now += 61.0
        refusals.refuse(letters[4], DecodeError("four", why="seal"))
    assert counted("seal") == before["seal"] + 4
    assert counted("job") == before["job"] + 1
    lines = [(line["reason"], line.get("others_since")) for line in logs if line["event"].startswith("message refused")]
    assert lines == [("one", None), ("no", None), ("four", 2)]
