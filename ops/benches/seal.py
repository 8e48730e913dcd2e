"""What it costs that every message is sealed and signed, and how many attempts at forging one are refused.

share_of_round: of a round in which one party sends another 1 MiB and has an answer, over RabbitMQ and with journals on
disk, what sealing and opening take. round_trip_ms: what they add to an empty request and its answer. bytes_overhead:
sealed to unsealed bytes of 1 MiB. Attempts: all that somebody on the way can make of a message of a running session,
and what other members, an outsider and a stranger can send in another's name.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from attacks import altered

from common import JOB, acquainted, sessions, specification
from fedbus import codec, metrics, topology
from fedbus.algorithms.vertical.messages import BlindedIds, CommonRows
from fedbus.broker.base import Outgoing
from fedbus.broker.memory.broker import MemoryHub
from fedbus.broker.node.node import Node
from fedbus.broker.rabbitmq.broker import AmqpBroker
from fedbus.chunks import CHUNK_BYTES
from fedbus.messages.control import Alive, Failed
from fedbus.messages.envelope import Envelope, Message
from fedbus.seals import IdentitySeals, JobSeals
from fedbus.service import process

SECONDS = 30.0
# Of ids; the rest of 1 MiB is for the message around them.
PAYLOAD_BYTES = CHUNK_BYTES - 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    parser.add_argument("--rounds", type=int, default=40, help="of 1 MiB over RabbitMQ (default: 40)")
    parser.add_argument("--repeats", type=int, default=200, help="of sealing and opening (default: 200)")


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """All figures."""
    long, empty = BlindedIds("ristretto255", bytes(PAYLOAD_BYTES)), Alive()
    added, overhead = cost(long, arguments.repeats)
    answer, _ = cost(BlindedIds("ristretto255", b""), arguments.repeats)
    seconds = rounds(long, arguments.rounds)
    refused, attempts = attacked()
    return {
        "share_of_round": (added + answer) / seconds,
        "round_seconds": seconds,
        "seconds_of_1_mib": added,
        "round_trip_ms": 2 * cost(empty, arguments.repeats)[0] * 1000,
        "bytes_overhead": overhead,
        "refused": refused,
        "attempts": attempts,
    }


def cost(message: Message, repeats: int) -> tuple[float, float]:
    """Seconds that sealing and opening a message take beyond packing and unpacking it, and sealed to unsealed bytes."""
    known = acquainted(specification())
    role = specification().role
    shop, bank = (JobSeals(known[name], JOB, name.encode() * 8, role) for name in ("shop", "bank"))
    shop = JobSeals(known["shop"], JOB, b"shop" * 8, role, {"bank": bank.certificate})
    envelope = Envelope(JOB, "shop", "bank", message)
    taken: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(repeats):
        for sealed in taken:
            began = time.perf_counter()
            body = codec.encode(envelope, shop if sealed else None)
            codec.decode(body, bank if sealed else None)
            taken[sealed].append(time.perf_counter() - began)
    lengths = [len(codec.encode(envelope, seals)) for seals in (shop, None)]
    return statistics.median(taken[True]) - statistics.median(taken[False]), lengths[0] / lengths[1]


def rounds(message: Message, count: int) -> float:
    """The median of seconds of a round between two sessions over RabbitMQ."""
    roles = {"coordinator": "coordinator", "shop": "party", "bank": "party"}
    with Node(users=roles) as node, sessions(specification(), lambda name: AmqpBroker(node.url(name))) as opened:
        shop, bank = opened["shop"], opened["bank"]

        def answer() -> None:
            for number in range(count + 1):
                bank.at(number)
                bank.recv("shop", BlindedIds)
                bank.send("shop", BlindedIds("ristretto255", b""))
                bank.checkpoint({})

        answering, taken = threading.Thread(target=answer), []
        answering.start()
        for number in range(count + 1):
            began = time.perf_counter()
            shop.at(number)
            shop.send("bank", message)
            shop.recv("bank", BlindedIds)
            shop.checkpoint({})
            taken.append(time.perf_counter() - began)
        answering.join()
    # In the first round they meet.
    return statistics.median(taken[1:])


def attacked() -> tuple[int, int]:
    """How many attempts on a session were refused, and how many there were; an honest message arrives after each."""
    process.configure_logging("error")
    hub, refused, count = MemoryHub(), 0, 0
    with sessions(specification(), hub.connect) as opened:
        shop, bank = opened["shop"], opened["bank"]
        for name, publisher, body in attempts(opened):
            before = _refused()
            broker = hub.connect(publisher)
            key = topology.data_key("shop", "bank", JOB)
            broker.publish(Outgoing(topology.DATA, key, body, name)).result(SECONDS)
            broker.close()
            count += 1
            for session in (shop, bank):
                session.at(count)
            shop.send("bank", CommonRows(count.to_bytes(4, "big")))
            if bank.recv("shop", CommonRows).positions == count.to_bytes(4, "big"):
                refused += _refused() == before + 1
            bank.checkpoint({})
    return refused, count


def attempts(opened: dict[str, Any]) -> Iterator[tuple[str, str, bytes]]:
    """Attempts: what each is, under whose name the broker passes it on, and the bytes."""
    shop, bank = opened["shop"], opened["bank"]
    # They meet, and an attempt at what was read already is a duplicate.
    shop.send("bank", BlindedIds("ristretto255", b"genuine"))
    bank.recv("shop", BlindedIds)
    seals: Callable[[str], JobSeals] = lambda name: opened[name]._post._seals  # noqa: E731
    genuine = codec.encode(Envelope(JOB, "shop", "bank", BlindedIds("ristretto255", b"x"), round=10**6), seals("shop"))
    for name, body in altered(genuine):
        yield name, "shop", body
    envelope = Envelope(JOB, "shop", "bank", Failed("because"))
    yield "published by another party", "coordinator", codec.encode(envelope, seals("shop"))
    yield "published by an outsider", "mallory", codec.encode(envelope, seals("shop"))
    yield "published by nobody whom the session knows", "", codec.encode(envelope, seals("shop"))
    yield "sealed by another member", "shop", codec.encode(envelope, IdentitySeals(opened["coordinator"].credentials))
    yield "sealed by a stranger", "shop", codec.encode(envelope, IdentitySeals(acquainted(specification())["shop"]))
    yield "not sealed", "shop", codec.encode(envelope)
    yield "garbage", "shop", b"\x00garbage"
    yield "too long", "shop", bytes(codec.MAX_BODY_BYTES + 1)


def _refused() -> float:
    return sum(sample.value for each in metrics.refused.collect() for sample in each.samples if "_total" in sample.name)
