"""Alignment of two parties with half of their ids in common, a process each, over RabbitMQ: seconds, memory, by rows.

From the first message to the last one of both, ids being in memory; the journal is on disk as in a real job. Processor
seconds are those of both parties; the broker's own come on top and are not in them.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from common import JOB, acquainted, session_of, sessions, specification
from fedbus import codec, environment, topology
from fedbus.broker.node.node import Node
from fedbus.broker.rabbitmq.broker import AmqpBroker
from fedbus.credentials import Credentials
from fedbus.crypto import curve
from fedbus.crypto.engine import Engine
from fedbus.job import JobState
from fedbus.service import process
from fedbus.store.sqlite import SqliteStore
from parties.vertical import align

PARTIES = ("shop", "bank")
START_SECONDS = 60.0


@dataclass(frozen=True)
class Part:
    """What one party of a run tells.

    Attributes:
        rows: in common.
        seconds: from the word to begin to its last message.
        memory: its largest resident set, bytes.
    """

    rows: int
    seconds: float
    processor_seconds: float
    memory: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 30_000, 100_000], help="(default: %(default)s)")
    parser.add_argument("--broker", choices=["amqp", "memory"], default="amqp", help="memory: two threads, one process")
    parser.add_argument("--tier", choices=["native", "portable"], help="as FEDBUS_TIER")
    parser.add_argument("--runs", type=int, default=3, help="of each number of rows; medians count (default: 3)")


def run(arguments: argparse.Namespace) -> dict[str, object]:
    if arguments.tier:
        os.environ["FEDBUS_TIER"] = arguments.tier
    if arguments.tier == "native" and not curve.native():
        raise SystemExit("ops/bench align: this machine has no native arithmetic for x25519")
    figures: dict[str, dict[str, float]] = {}
    with contextlib.ExitStack() as stack:
        urls = stack.enter_context(brokers()) if arguments.broker == "amqp" else None
        for rows in arguments.rows:
            runs = [in_processes(urls, rows, run) if urls else in_threads(rows) for run in range(arguments.runs)]
            figures[str(rows)] = median(rows, runs)
            seconds, busy = figures[str(rows)]["seconds"], figures[str(rows)]["processor_seconds"]
            print(f"{rows:>9,} rows: {seconds:8.2f} s, {busy:8.2f} s of processor time in the parties", flush=True)
    largest, smallest = str(max(arguments.rows)), str(min(arguments.rows))
    cost = {rows: figures[rows]["seconds"] / int(rows) for rows in (largest, smallest)}
    return {
        **figures[largest],
        "group": curve.groups()[0],
        "tier": "native" if curve.native() else "portable",
        "cores": os.cpu_count(),
        "cost_of_a_row_largest_to_smallest": cost[largest] / cost[smallest],
        "by_rows": figures,
    }


def median(rows: int, runs: list[list[Part]]) -> dict[str, float]:
    """Figures of one number of rows; a run is over when its last party is."""
    for parts in runs:
        if {part.rows for part in parts} != {rows - rows // 2}:
            raise AssertionError(f"the alignment found {parts[0].rows} common rows of {rows - rows // 2}")
    seconds = statistics.median(max(part.seconds for part in parts) for parts in runs)
    return {
        "seconds": seconds,
        "rows_per_second_per_core": rows / seconds / (os.cpu_count() or 1),
        "processor_seconds": statistics.median(sum(part.processor_seconds for part in parts) for parts in runs),
        "peak_memory_bytes": max(part.memory for parts in runs for part in parts),
    }


@contextlib.contextmanager
def brokers() -> Iterator[dict[str, str]]:
    """URLs by user: of the broker in the environment, or of a private node."""
    users = ("coordinator", *PARTIES)
    if url := environment.broker_url():
        yield dict.fromkeys(users, url)
        return
    with Node(users={"coordinator": "coordinator", **dict.fromkeys(PARTIES, "party")}) as node:
        yield {user: node.url(user) for user in users}


def in_processes(urls: dict[str, str], rows: int, number: int) -> list[Part]:
    """One alignment between two processes."""
    job = f"{JOB}-{rows}-{number}"
    context = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        administrator = AmqpBroker(urls["coordinator"])
        stack.callback(administrator.close)
        queues = [topology.job_queue(party, job) for party in PARTIES]
        administrator.declare(queues)
        pipes, known = {}, acquainted(specification())
        for party in PARTIES:
            pipes[party], end = context.Pipe()
            child = context.Process(target=take_part, args=(known[party], urls, job, rows, end))
            child.start()
            end.close()
            stack.callback(child.join)
            stack.callback(child.kill)
        for word in ("ready", "part"):
            answers = [pipes[party].recv() for party in PARTIES]
            if word == "ready":
                for party in PARTIES:
                    pipes[party].send("begin")
        for queue in queues:
            administrator.delete(queue.name)
    return answers


def take_part(own: Credentials, urls: dict[str, str], job: str, rows: int, pipe: Connection) -> None:
    """A party's process."""
    process.configure_logging("warning")
    engine, party = Engine(None), own.name
    with contextlib.ExitStack() as stack:
        stack.callback(engine.close)
        engine.warm_up()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fedbus-bench-")))
        store = stack.enter_context(SqliteStore(folder / f"{party}.db"))
        spec = specification()
        store.add_job(job, codec.pack(spec.to_map()), JobState.RUNNING)
        broker = AmqpBroker(urls[party])
        stack.callback(broker.close)
        broker.connect()
        verify = len(set(urls.values())) > 1
        session = session_of(own, job, store, broker, verify_sender=verify)
        session.open()
        stack.callback(session.close)
        ids = ids_of(party, rows)
        pipe.send("ready")
        if not pipe.poll(START_SECONDS):
            raise TimeoutError("the other party did not start")
        pipe.recv()
        start, busy = time.perf_counter(), busy_seconds()
        common = (align.guest if party == PARTIES[0] else align.host)(session, engine, ids)
        seconds, busy = time.perf_counter() - start, busy_seconds() - busy
        pipe.send(Part(len(common), seconds, busy, peak_memory()))
        # The last messages are confirmed, and the other party has read them, before this one ends.
        pipe.poll(None)


def ids_of(party: str, rows: int) -> tuple[str, ...]:
    """Half of one party's ids are the other's too."""
    first = 0 if party == PARTIES[0] else rows // 2
    return tuple(f"user-{number}" for number in range(first, first + rows))


def busy_seconds() -> float:
    """Processor time of this process and of its children that live."""
    ticks = 0
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        # User and system time are fields 14 and 15 of proc(5), of which two are cut off here.
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def peak_memory() -> int:
    """The largest resident set of this process; that of resource.getrusage would count the one it was started from."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(kilobytes) * 1024


def in_threads(rows: int) -> list[Part]:
    """One alignment on the in-process broker; processor time and memory are those of the whole process."""
    engine = Engine(None)
    parts: dict[str, Part] = {}
    with contextlib.ExitStack() as stack:
        stack.callback(engine.close)
        engine.warm_up()
        opened = stack.enter_context(sessions(specification()))
        start, busy = time.perf_counter(), busy_seconds()

        def work(party: str) -> None:
            role = align.guest if party == PARTIES[0] else align.host
            common = len(role(opened[party], engine, ids_of(party, rows)))
            seconds = time.perf_counter() - start
            parts[party] = Part(common, seconds, (busy_seconds() - busy) / len(PARTIES), peak_memory())

        threads = [threading.Thread(target=work, args=(party,)) for party in PARTIES]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return list(parts.values())
