"""A flood of messages that are none, from somebody who is not in the job, while the job runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from fedbus import topology
from fedbus.broker.base import Outgoing
from fedbus.broker.node.node import Node
from fedbus.broker.rabbitmq.broker import AmqpBroker
from fedbus.client import Client
from fedbus.errors import Unroutable
from processes import WAIT, Processes, follow, small

Start = Callable[..., Processes]

MESSAGES = 1000


def test_a_flood_of_malformed_messages_does_not_keep_a_job_from_its_end(
    tmp_path: Path, processes: Start, client: Client, node: Node
) -> None:
    federation = small(tmp_path, max_epochs=30)
    running = processes(federation)
    running.start_all()
    stranger, other = AmqpBroker(node.url("carol")), AmqpBroker(node.url("client"))
    bodies = [b"\x00garbage", b"", b"\xdd\x00\x3f\x00\x00" * 1000, b"\x91" * 3000, b"\xdc\xff\xff" + b"\x90" * 65_535]
    taken: list[Future[None]] = []

    def flood(job: str) -> None:
        for number in range(MESSAGES):
            body = bodies[number % len(bodies)]
            key = topology.data_key("carol", "bank", job)
            taken.append(stranger.publish(Outgoing(topology.DATA, key, body, f"flood {number}")))
            if number % 4 == 0:
                taken.append(other.publish(Outgoing(topology.JOBS, topology.SUBMIT, body, f"flood {number}")))

    job = client.submit(federation.spec())
    flooding = threading.Thread(target=flood, args=(job,))
    try:
        report = follow(client, job, {3: flooding.start})
        flooding.join(WAIT)
        # The rest finds no queue any more: the job has ended.
        assert {type(future.exception(WAIT)) for future in taken} <= {type(None), Unroutable}
        assert "fedbus_dead_letters_total 0.0" not in running.metrics("bank")
        assert "fedbus_redeliveries_total 0.0" in running.metrics("bank")
    finally:
        stranger.close()
        other.close()
    assert report["state"] == "succeeded"
    assert report["rounds"] == 30 or report["converged"]
    assert set(running.end_all().values()) == {0}
