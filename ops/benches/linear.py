"""Vertical linear regression, three processes over RabbitMQ: time, messages and memory by rows, of either solver.

With --hard: how far predictions are from those of pooled least squares where columns nearly depend on each other.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from common import write_tables
from coordinator.service import Service
from fedbus.algorithms import registry
from fedbus.algorithms.linear.plan import estimate
from fedbus.cli import simulation
from parties.linear import pooled
from parties.worker import Worker

JOB = """\
name = "bench"
algorithm = "vertical-linear"
guest = {{ party = "shop", dataset = "rows", label = "y" }}
hosts = [{{ party = "bank", dataset = "rows" }}]
params = {{ key_bits = {key_bits}, {params} }}
"""
ROLES = simulation.Roles(coordinator=Service, party=Worker, compare=pooled.compare)
# How much larger the largest singular value of the pooled columns is than the smallest, about.
CONDITIONS = (1e4, 1e6, 1e8, 1e10)
ROWS = {"gram": [1_000, 10_000, 100_000], "sgd": [1_000, 5_000, 20_000]}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--solver", choices=["gram", "sgd"], default="gram")
    parser.add_argument("--rows", type=int, nargs="+", help=f"(default: {ROWS})")
    parser.add_argument("--guest-features", type=int, default=10)
    parser.add_argument("--host-features", type=int, default=10)
    parser.add_argument("--key-bits", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each job with sgd (default: %(default)s)")
    parser.add_argument("--hard", action="store_true", help="columns that nearly depend on each other, solver gram")
    parser.add_argument("--feature-bits", type=int, help="with --hard (default: the solver's own)")
    parser.add_argument("--broker", choices=["amqp", "memory"], default="amqp")


def run(arguments: argparse.Namespace) -> dict[str, object]:
    if arguments.hard:
        return _hard(arguments)
    arguments.rows = arguments.rows or ROWS[arguments.solver]
    return _gram(arguments) if arguments.solver == "gram" else _sgd(arguments)


def _gram(arguments: argparse.Namespace) -> dict[str, object]:
    reports, planned = {}, {}
    for rows in arguments.rows:
        report = reports[rows] = _job(arguments, rows, 'solver = "gram"')
        planned[rows] = _plan(arguments, rows, report["rounds"])
        print(
            f"{rows:>8,} rows: {report['seconds']:8.2f} s, {report['rounds']} rounds of "
            f"{report['round_latency_seconds']['p50']:.3f} s, difference {report['max_coefficient_difference']:.1e}",
            flush=True,
        )
    largest = reports[max(arguments.rows)]
    return {
        "seconds": largest["seconds"],
        "max_coefficient_difference": max(report["max_coefficient_difference"] for report in reports.values()),
        "peak_memory_bytes": max(largest["peak_memory_bytes"].values()),
        "rounds": largest["rounds"],
        "planned_over_measured": planned[max(arguments.rows)]["seconds_on_this_machine"] / largest["seconds"],
        "planned_bytes_over_measured": planned[max(arguments.rows)]["bytes"] / sum(largest["bytes_sent"].values()),
        "seconds_by_rows": {str(rows): report["seconds"] for rows, report in reports.items()},
        "seconds_per_round_by_rows": {
            str(rows): report["round_latency_seconds"]["p50"] for rows, report in reports.items()
        },
        "bytes_by_rows": {str(rows): sum(report["bytes_sent"].values()) for rows, report in reports.items()},
        "peak_memory_bytes_by_process": largest["peak_memory_bytes"],
    }


def _hard(arguments: argparse.Namespace) -> dict[str, object]:
    """Two columns that differ by a part of 1 / condition, on which the label depends: at one party, and one at each."""
    rows = (arguments.rows or [1_000])[0]
    bits = "" if arguments.feature_bits is None else f", feature_bits = {arguments.feature_bits}"
    figures: dict[str, object] = {}
    for condition in CONDITIONS:
        for where in ("one party", "across"):
            report = _job(arguments, rows, f'solver = "gram"{bits}', _nearly_equal(rows, condition, where))
            found = report["train"], report["pooled_train"]
            figures[f"condition {condition:.0e}, {where}"] = {
                # The best model's residuals are orthogonal to all that columns can predict.
                "difference_in_predictions": max(0.0, found[0]["mse"] - found[1]["mse"]) ** 0.5,
                "r2_below_pooled": found[1]["r2"] - found[0]["r2"],
                "converged": report["converged"],
                "estimated_lack": report["lack"],
                "rounds": report["rounds"],
            }
            print(f"{condition:.0e} {where}: {figures[f'condition {condition:.0e}, {where}']}", flush=True)
    return figures


def _nearly_equal(rows: int, condition: float, where: str) -> dict[str, dict[str, np.ndarray]]:
    """Columns by party; predictions and label have a deviation of about 1."""
    random = np.random.default_rng(0)
    one, apart, own, others, noise = random.normal(size=(5, rows))
    two, label = one + apart / condition, apart + 0.1 * noise
    if where == "one party":
        return {"shop": {"y": label, "a": one, "b": two}, "bank": {"c": own, "d": others}}
    return {"shop": {"y": label, "a": one, "c": own}, "bank": {"b": two, "d": others}}


def _plan(arguments: argparse.Namespace, rows: int, rounds: int) -> dict[str, Any]:
    """What `fedbus plan` says of the same job."""
    spec = registry.parse(tomllib.loads(JOB.format(key_bits=arguments.key_bits, params='solver = "gram"')))
    columns = {"shop": arguments.guest_features, "bank": arguments.host_features}
    return estimate(spec, rows, columns, rounds)


def _sgd(arguments: argparse.Namespace) -> dict[str, object]:
    seconds, sent = {}, {}
    for rows in arguments.rows:
        params = 'solver = "sgd", tolerance = 0.0, learning_rate = 0.05, max_epochs = {}'
        long = _job(arguments, rows, params.format(arguments.rounds))
        short = _job(arguments, rows, params.format(1))
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


def _job(
    arguments: argparse.Namespace, rows: int, params: str, tables: dict[str, dict[str, np.ndarray]] | None = None
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="fedbus-bench-") as scratch:
        folder = Path(scratch)
        files = write_tables(folder, rows, arguments.guest_features, arguments.host_features)
        for party, columns in (tables or {}).items():
            with (folder / f"{party}.csv").open("w", encoding="utf-8", newline="") as file:
                written = csv.writer(file)
                written.writerow(["id", *columns])
                written.writerows(zip(range(rows), *(column.tolist() for column in columns.values()), strict=True))
        job = folder / "job.toml"
        job.write_text(JOB.format(key_bits=arguments.key_bits, params=params), "utf-8")
        report = simulation.run(job, files, arguments.broker, ROLES, lambda _: None)
    if not report.succeeded:
        raise AssertionError(f"the job did not run as it should: {report.reason}")
    return report.to_map()
