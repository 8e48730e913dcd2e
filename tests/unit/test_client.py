"""A watcher's view of a job: each state once, in order, to the end."""

from __future__ import annotations

from fedbus import codec, topology
from fedbus.broker.base import Delivery
from fedbus.broker.memory import MemoryHub
from fedbus.client import Client
from fedbus.messages import Envelope, Query, StateChanged
from fedbus.post import publish_event

JOB = "test-1"


def test_the_answer_to_a_query_is_not_shown_twice() -> None:
    hub = MemoryHub()
    coordinator, watching = hub.connect("coordinator"), hub.connect("client")
    coordinator.declare([topology.dead_queue(), topology.jobs_queue()])

    def announce(state: str, job: str = JOB) -> None:
        publish_event(coordinator, Envelope(job, "coordinator", "coordinator", StateChanged(state)))

    def answer(delivery: Delivery) -> None:
        assert isinstance(codec.decode(delivery.body).payload, Query)
        delivery.ack()
        for state in ("submitted", "submitted", "running"):
            announce(state)
        announce("failed", job="test-2")
        for state in ("running", "cancelled"):
            announce(state)

    coordinator.consume(topology.JOBS_QUEUE, answer)
    with Client(watching) as client:
        seen = [event.state for event in client.watch(JOB, timeout=10) if isinstance(event, StateChanged)]
    watching.close()
    coordinator.close()
    assert seen == ["submitted", "running", "cancelled"]
