"""Vertical linear regression, solver sgd, three processes over RabbitMQ: seconds and bytes a round by rows."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from common import write_tables
from coordinator.service import Service
from fedbus import simulate
from parties import pooled
from parties.worker import Worker

JOB = """\
name = "bench"
algorithm = "vertical-linear"
guest = {{ party = "shop", dataset = "rows", label = "y" }}
hosts = [{{ party = "bank", dataset = "rows" }}]
params = {{ key_bits = {key_bits}, max_epochs = {rounds}, tolerance = 0.0, learning_rate = 0.05 }}
"""
ROLES = simulate.Roles(coordinator=Service, party=Worker, compare=pooled.compare)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 5_000, 20_000], help="(default: %(default)s)")
    parser.add_argument("--guest-features", type=int, default=10)
    parser.add_argument("--host-features", type=int, default=10)
    parser.add_argument("--key-bits", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each job (default: %(default)s)")
    parser.add_argument("--broker", choices=["amqp", "memory"], default="amqp")


def run(arguments: argparse.Namespace) -> dict[str, object]:
    seconds, sent = {}, {}
    for rows in arguments.rows:
        long = _job(arguments, rows, arguments.rounds)
        short = _job(arguments, rows, 1)
        seconds[str(rows)] = long["round_latency_seconds"]["p50"]
        # What alignment and the closing pass cost is the same in both.
        extra = sum(long["bytes_sent"].values()) - sum(short["bytes_sent"].values())
        sent[str(rows)] = extra / (arguments.rounds - 1)
        print(
            f"{rows:>8,} rows: {seconds[str(rows)]:8.2f} s a round, {sent[str(rows)]:14,.0f} bytes a round", flush=True
        )
    largest, smallest = str(max(arguments.rows)), str(min(arguments.rows))
    rows_ratio = int(largest) / int(smallest)
    return {
        "seconds_per_round": seconds,
        "bytes_per_round": sent,
        "cost_of_a_row_largest_to_smallest": seconds[largest] / seconds[smallest] / rows_ratio,
    }


def _job(arguments: argparse.Namespace, rows: int, rounds: int) -> dict:
    with tempfile.TemporaryDirectory(prefix="fedbus-bench-") as scratch:
        folder = Path(scratch)
        files = write_tables(folder, rows, arguments.guest_features, arguments.host_features)
        job = folder / "job.toml"
        job.write_text(JOB.format(key_bits=arguments.key_bits, rounds=rounds), "utf-8")
        report = simulate.run(job, files, arguments.broker, ROLES, lambda _: None)
    if report["state"] != "succeeded" or report["rounds"] != rounds:
        raise AssertionError(f"the job did not run as it should: {report.get('reason')}")
    return report
