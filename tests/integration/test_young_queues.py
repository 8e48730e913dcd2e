"""RabbitMQ killed soon after a queue was declared: the queue comes back without a leader, and is mended."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import pytest
from structlog.testing import capture_logs

from fedbus import topology
from fedbus.broker.base import Delivery, Outgoing
from fedbus.broker.node.node import Node
from fedbus.broker.rabbitmq.broker import AmqpBroker
from fedbus.broker.rabbitmq.intake import WINDOW
from fedbus.errors import Unroutable

USERS = {"coordinator": "coordinator", "shop": "party", "bank": "party", "client": "client"}
SECONDS = 60.0
_LEADERS = (
    '[io:format("~s ~w~n", [element(4, element(2, Q)), element(1, ra:members(amqqueue:get_pid(Q), 500))])'
    " || Q <- rabbit_amqqueue:list()]."
)

Connect = Callable[..., AmqpBroker]


def wait_until(done: Callable[[], bool]) -> None:
    """Look now and then, for there is nothing that tells."""
    end, never = time.monotonic() + SECONDS, threading.Event()
    while not done():
        assert time.monotonic() < end
        never.wait(0.05)


@pytest.fixture(scope="module")
def fragile() -> Iterator[Node]:
    """A node that these tests kill."""
    with Node(users=USERS) as node:
        yield node


def without_leader(node: Node) -> set[str]:
    """The queues that nobody answers for."""
    lines = [line.split() for line in node.rabbitmqctl("eval", _LEADERS, timeout=60).splitlines()]
    return {line[0] for line in lines if len(line) == 2 and line[1] != "ok"}


def to(recipient: str, job: str, sender: str, body: bytes) -> Outgoing:
    """A message for a participant's queue of a job."""
    return Outgoing(topology.DATA, topology.data_key(sender, recipient, job), body, uuid.uuid4().hex)


def deliver(broker: AmqpBroker, message: Outgoing) -> None:
    """Publish until a queue has taken it, as an outbox does: while a queue is replaced there is none for a moment."""
    end = time.monotonic() + SECONDS
    while True:
        try:
            broker.publish(message).result(SECONDS)
        except Unroutable:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


def test_a_queue_without_a_leader_is_declared_again_by_whoever_declared_it(connect: Connect, fragile: Node) -> None:
    job = uuid.uuid4().hex
    queues = [topology.job_queue(name, job) for name in ("coordinator", "shop", "bank")]
    received: SimpleQueue[Delivery] = SimpleQueue()
    coordinator, bank = connect(fragile.url("coordinator")), connect(fragile.url("bank"))
    with capture_logs() as logs:
        coordinator.declare(queues)
        bank.consume(queues[2].name, received.put)
        fragile.kill()
        fragile.start()
        # To all of them: which one is hit is RabbitMQ's choice.
        for name in ("coordinator", "shop", "bank"):
            deliver(coordinator, to(name, job, "coordinator", b"again"))
        assert received.get(timeout=SECONDS).body == b"again"
    assert without_leader(fragile) == set()
    mended = {line["queue"] for line in logs if "declared again" in line["event"]}
    assert mended
    assert mended <= {queue.name for queue in queues}


def test_a_queue_that_is_only_slow_keeps_what_it_holds(connect: Connect, fragile: Node) -> None:
    fragile.start()
    queue = topology.job_queue("bank", uuid.uuid4().hex)
    job = queue.name.rpartition(".")[2]
    first, bank = connect(fragile.url("coordinator")), connect(fragile.url("bank"))
    first.declare([queue])
    deliver(first, to("bank", job, "coordinator", b"kept"))
    first.close()
    # As one that reads a long log: its process answers nobody, and RabbitMQ says that it is empty.
    fragile.rabbitmqctl("eval", f"sys:suspend(whereis('%2F_{queue.name}')).")
    second = connect(fragile.url("coordinator"))
    with capture_logs() as logs, ThreadPoolExecutor(1) as thread:
        declared = thread.submit(second.declare, [queue], None)
        try:
            wait_until(lambda: declared.done() or any("it is waited for" in line["event"] for line in logs))
        finally:
            fragile.rabbitmqctl("eval", f"sys:resume(whereis('%2F_{queue.name}')).")
        declared.result(SECONDS)
    assert next(line["queues"] for line in logs if "it is waited for" in line["event"]) == [queue.name]
    assert not [line for line in logs if "declared again" in line["event"]]
    received: SimpleQueue[Delivery] = SimpleQueue()
    bank.consume(queue.name, received.put)
    assert received.get(timeout=SECONDS).body == b"kept"


def test_dead_letters_are_taken_again_after_their_queue_lost_its_leader(connect: Connect, fragile: Node) -> None:
    fragile.start()
    coordinator, bank = connect(fragile.url("coordinator")), connect(fragile.url("bank"))
    queue = topology.job_queue("bank", uuid.uuid4().hex)
    coordinator.declare([queue])
    assert coordinator.delete(topology.DEAD, filled=True).result(SECONDS)
    with capture_logs() as logs:
        coordinator.declare([topology.dead_queue()])
        fragile.kill()
        fragile.start()
        bank.consume(queue.name, lambda delivery: delivery.dead_letter("malformed"))
        deliver(coordinator, to("bank", queue.name.rpartition(".")[2], "coordinator", b"odd"))
        letters: SimpleQueue[Delivery] = SimpleQueue()
        wait_until(lambda: any(line.get("queue") == topology.DEAD for line in logs))
        wait_until(lambda: topology.DEAD not in without_leader(fragile))
        coordinator.consume(topology.DEAD, letters.put)
        letter = letters.get(timeout=SECONDS)
    # The first is the letter: what asked the queue whether it works has not stayed in it.
    assert (letter.body, letter.headers["x-fedbus-reason"]) == (b"odd", "malformed")


def test_a_queue_that_confirms_nothing_holds_up_no_other(connect: Connect, fragile: Node) -> None:
    fragile.start()
    job = uuid.uuid4().hex
    queues = [topology.job_queue(name, job) for name in ("coordinator", "bank", "shop")]
    first = connect(fragile.url("coordinator"))
    first.declare(queues)
    # Nobody declares them again, so that none is mended while this test looks at it.
    first.close(0)
    fragile.kill()
    fragile.start()
    mute = {queue.name for queue in queues} & without_leader(fragile)
    sound = {queue.name for queue in queues} - mute
    assert mute
    assert sound
    shop = connect(fragile.url("shop"))
    with capture_logs() as logs:
        stuck = [
            shop.publish(to(name.split(".")[2], job, "shop", b"stuck"), wait=False)
            for name in sorted(mute)
            for _ in range(WINDOW + 100)
        ]
        for name in sorted(sound):
            for number in range(3):
                shop.publish(to(name.split(".")[2], job, "shop", b"%d" % number)).result(SECONDS / 3)
    assert not any(future.done() for future in stuck)
    assert len([line for line in logs if "wait apart" in line["event"]]) == len(mute)
    # Once they are mended, all that was stuck is answered for, and they take messages as all others do.
    connect(fragile.url("coordinator")).declare(queues, timeout=None)
    assert {type(future.exception(SECONDS)) for future in stuck} <= {type(None), Unroutable}
    for name in sorted(mute):
        owner = name.split(".")[2]
        received: SimpleQueue[bytes] = SimpleQueue()

        def receive(delivery: Delivery, bodies: SimpleQueue[bytes] = received) -> None:
            bodies.put(delivery.body)
            delivery.ack()

        connect(fragile.url(owner)).consume(name, receive)
        deliver(shop, to(owner, job, "shop", b"after"))
        while received.get(timeout=SECONDS) != b"after":
            pass
