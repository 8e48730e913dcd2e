"""What fedbus's broker layer costs on top of bare pika, on one RabbitMQ, in blocks that take turns.

Round trip: an empty request and its reply between two processes over quorum queues, both confirmed, acknowledged after
the effect; bare pika is a BlockingConnection in each process. Throughput: persistent messages of 1 KiB with confirms
and a window of 500; bare pika is a SelectConnection (a BlockingConnection waits for each confirm, which is slower).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import queue
import statistics
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import Basic

from fedbus import topology
from fedbus.broker.base import Delivery, Outgoing
from fedbus.broker.node.node import Node
from fedbus.broker.rabbitmq.broker import AmqpBroker
from fedbus.broker.rabbitmq.intake import WINDOW
from fedbus.topology import Queue

SECONDS = 60.0
BODY = os.urandom(1024)


class Ready(Protocol):
    """An event shared by two processes."""

    def set(self) -> None: ...


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    parser.add_argument("--blocks", type=int, default=20, help="blocks of each kind")
    parser.add_argument("--trips", type=int, default=50, help="round trips in a block")
    parser.add_argument("--messages", type=int, default=4000, help="messages in a block of the throughput part")


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Both parts; a ratio says how many times slower fedbus is: the median over pairs of blocks next to each other."""
    with ExitStack() as stack:
        url = os.environ.get("FEDBUS_AMQP_URL") or stack.enter_context(private_node())
        trips = round_trips(url, arguments.blocks, arguments.trips)
        rates = throughput(url, arguments.blocks, arguments.messages)
    return {
        "rtt_ratio": statistics.median(
            ours / theirs for ours, theirs in zip(trips["fedbus"], trips["bare"], strict=True)
        ),
        "throughput_ratio": statistics.median(
            theirs / ours for ours, theirs in zip(rates["fedbus"], rates["bare"], strict=True)
        ),
        "rtt_seconds": statistics.median(trips["fedbus"]),
        "bare_rtt_seconds": statistics.median(trips["bare"]),
        "messages_per_second": statistics.median(rates["fedbus"]),
        "bare_messages_per_second": statistics.median(rates["bare"]),
    }


@contextmanager
def private_node() -> Iterator[str]:
    """The URL of a node that lives as long as the bench."""
    node = Node()
    node.start()
    try:
        yield node.url("coordinator")
    finally:
        node.stop()


def round_trips(url: str, blocks: int, trips: int) -> dict[str, list[float]]:
    """Median seconds of a round trip in each block, by kind; the first block of each kind warms up."""
    requests, replies = job_queues(), job_queues()
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        broker = AmqpBroker(url)
        stack.callback(broker.close)
        broker.declare([*requests.values(), *replies.values()])
        for kind, respond in (("fedbus", respond_fedbus), ("bare", respond_bare)):
            ready = context.Event()
            process = context.Process(target=respond, args=(url, requests[kind], replies[kind], ready), daemon=True)
            process.start()
            stack.callback(process.join)
            stack.callback(process.kill)
            if not ready.wait(SECONDS):
                raise TimeoutError(f"the {kind} responder did not start")
        ask = {
            "fedbus": FedbusRequester(broker, requests["fedbus"], replies["fedbus"]),
            "bare": stack.enter_context(BareRequester(url, requests["bare"], replies["bare"])),
        }
        seconds: dict[str, list[float]] = {kind: [] for kind in ask}
        for block in range(blocks + 1):
            for kind, requester in ask.items():
                taken = [timed(requester) for _ in range(trips)]
                if block:
                    seconds[kind].append(statistics.median(taken))
    drop(url, [*requests.values(), *replies.values()])
    return seconds


class Requester(Protocol):
    """Makes one round trip when called."""

    def __call__(self) -> None: ...


def timed(requester: Requester) -> float:
    """Seconds of one round trip."""
    began = time.perf_counter()
    requester()
    return time.perf_counter() - began


class FedbusRequester:
    """A request through fedbus."""

    def __init__(self, broker: AmqpBroker, requests: Queue, replies: Queue) -> None:
        self._broker, self._requests = broker, requests
        self._received: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        broker.consume(replies.name, self._received.put)

    def __call__(self) -> None:
        self._broker.publish(message(self._requests, b"")).result(SECONDS)
        self._received.get(timeout=SECONDS).ack()


class BareRequester:
    """A request through pika."""

    def __init__(self, url: str, requests: Queue, replies: Queue) -> None:
        self._requests = requests
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
        self._replies = self._channel.consume(replies.name, inactivity_timeout=SECONDS)

    def __call__(self) -> None:
        publish(self._channel, self._requests)
        method, _, _ = next(self._replies)
        self._channel.basic_ack(method.delivery_tag)

    def __enter__(self) -> BareRequester:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def respond_fedbus(url: str, requests: Queue, replies: Queue, ready: Ready) -> None:
    """Answers until it is killed."""
    broker = AmqpBroker(url)

    def handler(delivery: Delivery) -> None:
        broker.publish(message(replies, b"")).add_done_callback(lambda _: delivery.ack())

    subscription = broker.consume(requests.name, handler)
    while subscription.error is not None:
        time.sleep(0.01)
    ready.set()
    time.sleep(24 * 3600)


def respond_bare(url: str, requests: Queue, replies: Queue, ready: Ready) -> None:
    """Answers until it is killed."""
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    channel.confirm_delivery()
    ready.set()
    for method, _, _ in channel.consume(requests.name):
        publish(channel, replies)
        channel.basic_ack(method.delivery_tag)


def throughput(url: str, blocks: int, messages: int) -> dict[str, list[float]]:
    """Messages a second of each block, by kind; the first block of each kind warms up."""
    queues = job_queues()
    rates: dict[str, list[float]] = {kind: [] for kind in queues}
    with ExitStack() as stack:
        broker = AmqpBroker(url)
        stack.callback(broker.close)
        broker.declare(list(queues.values()))
        for block in range(blocks + 1):
            for kind, target in queues.items():
                seconds = (
                    flood(broker, target, messages) if kind == "fedbus" else BareFlood(url, target, messages).run()
                )
                if block:
                    rates[kind].append(messages / seconds)
                purge(url, target)
    drop(url, list(queues.values()))
    return rates


def flood(broker: AmqpBroker, target: Queue, count: int) -> float:
    """Publish through fedbus; seconds until the last confirm."""
    began = time.perf_counter()
    futures = [broker.publish(message(target, BODY)) for _ in range(count)]
    for future in futures:
        future.result(SECONDS)
    return time.perf_counter() - began


class BareFlood:
    """Publish through one SelectConnection as fast as confirms and window allow."""

    def __init__(self, url: str, target: Queue, count: int) -> None:
        ((self._exchange, pattern),) = target.bindings
        self._key = pattern.replace("*", "coordinator", 1)
        self._left = count
        self._sent = 0
        self._confirmed = 0
        self._open: set[int] = set()
        self._lowest = 1
        self._began = self._ended = 0.0
        self._channel: Any = None
        self._connection = pika.SelectConnection(
            pika.URLParameters(url),
            on_open_callback=lambda connection: connection.channel(on_open_callback=self._on_channel),
            on_close_callback=lambda connection, _: connection.ioloop.stop(),
        )

    def run(self) -> float:
        """Seconds from the first message to the last confirm."""
        self._connection.ioloop.start()
        self._connection.ioloop.close()
        return self._ended - self._began

    def _on_channel(self, channel: Any) -> None:
        self._channel = channel
        channel.confirm_delivery(self._on_confirm, callback=lambda _: self._begin())

    def _begin(self) -> None:
        self._began = time.perf_counter()
        self._pump()

    def _pump(self) -> None:
        while self._left and len(self._open) < WINDOW:
            self._left -= 1
            self._sent += 1
            self._open.add(self._sent)
            self._channel.basic_publish(self._exchange, self._key, BODY, properties(), mandatory=True)

    def _on_confirm(self, frame: Any) -> None:
        if not isinstance(frame.method, Basic.Ack):
            raise TypeError("the broker does not take a message")
        tag = frame.method.delivery_tag
        if frame.method.multiple:
            self._open.difference_update(range(self._lowest, tag + 1))
            self._lowest = tag + 1
        else:
            self._open.discard(tag)
        if self._left:
            self._pump()
        elif not self._open:
            self._ended = time.perf_counter()
            self._connection.close()


def job_queues() -> dict[str, Queue]:
    """One queue of a job for each kind."""
    return {kind: topology.job_queue("coordinator", uuid.uuid4().hex) for kind in ("fedbus", "bare")}


def message(target: Queue, body: bytes) -> Outgoing:
    """What fedbus publishes."""
    ((exchange, pattern),) = target.bindings
    return Outgoing(exchange, pattern.replace("*", "coordinator", 1), body, uuid.uuid4().hex)


def properties() -> pika.BasicProperties:
    """What a careful program would set."""
    return pika.BasicProperties(content_type="application/msgpack", delivery_mode=2, message_id=uuid.uuid4().hex)


def publish(channel: BlockingChannel, target: Queue) -> None:
    """Publish an empty message with pika and wait for its confirm."""
    ((exchange, pattern),) = target.bindings
    channel.basic_publish(exchange, pattern.replace("*", "coordinator", 1), b"", properties(), mandatory=True)


def purge(url: str, target: Queue) -> None:
    """Empty a queue, so that every block meets the same broker."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        connection.channel().queue_purge(target.name)


def drop(url: str, queues: list[Queue]) -> None:
    """Delete the bench's queues; the broker may be somebody's."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        for target in queues:
            channel.queue_delete(target.name)
