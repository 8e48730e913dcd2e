"""Federated averaging: what a round costs besides training, bytes, masks, memory, and sums with parties that vanish.

round_overhead_ms      all of a round but the slowest party's training, median; the demo's network, two parties and
                       the coordinator as processes on RabbitMQ, updates behind masks
bytes_ratio            bytes of a round over those of the weights as float32, the worse way, a million parameters
masking_ratio          parameters a second that a party hides from one peer, over those of a plain numpy sum
dropout_rounds_exact   rounds whose sums are exact, of 20 in which three of ten parties vanish at random steps
memory_ratio           memory that a network takes of the process that needs most, over the network's own bytes
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from coordinator.service import Service
from fedbus.cli import simulation
from fedbus.crypto import secure_masks
from fedbus.crypto.residues import FixedRing
from parties.worker import Worker
from vanishing import Vanishing

# Networks on so many columns, by about how many parameters they have.
COLUMNS = 100
WIDTHS = {1_000_000: (1_000, 900), 25_000_000: (5_000, 4_900)}
TINY = (60, 60)
ROLES = simulation.Roles(coordinator=Service, party=Worker, compare=lambda *_: {})
MASKED = 4_000_000
DEMO = '{ linear = 32 }, { activation = "relu" }, { linear = 24 }, { activation = "relu" }, { linear = 16 }, '
DEMO += '{ activation = "relu" }, { linear = 1 }'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=100, help="of the demo's network (default: %(default)s)")
    parser.add_argument(
        "--parameters",
        type=int,
        nargs="+",
        choices=WIDTHS,
        default=[1_000_000],
        help="networks whose memory is measured",
    )
    parser.add_argument("--vanish-rounds", type=int, default=20, help="with vanishing parties (default: %(default)s)")
    parser.add_argument("--broker", choices=["amqp", "memory"], default="amqp")


def run(arguments: argparse.Namespace) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        figures: dict[str, object] = _overhead(folder / "demo", arguments)
        figures |= _sizes(folder / "sizes", arguments)
        figures |= _masking()
        return figures | _vanishing(folder / "vanishing", arguments.vanish_rounds)


def _overhead(folder: Path, arguments: argparse.Namespace) -> dict[str, object]:
    report = _job(folder, arguments.broker, DEMO, columns=13, rows=202, rounds=arguments.rounds, batch_size=8)
    overhead, latency = report["round_overhead_seconds"], report["round_latency_seconds"]
    print(
        f"round of {latency['p50'] * 1e3:.1f} ms, {overhead['p50'] * 1e3:.1f} ms of it no training "
        f"(p99 {overhead['p99'] * 1e3:.1f} ms)",
        flush=True,
    )
    return {"round_overhead_ms": overhead["p50"] * 1e3, "round_ms": latency["p50"] * 1e3}


def _sizes(folder: Path, arguments: argparse.Namespace) -> dict[str, object]:
    """Bytes and memory by size of the network; what a tiny one takes is the libraries'."""
    figures: dict[str, Any] = {"memory_ratio_by_parameters": {}, "seconds_per_round_by_parameters": {}}
    rounds, idle = 3, 0
    for about in (0, *dict.fromkeys(arguments.parameters)):
        first, second = WIDTHS.get(about, TINY)
        layers = f'{{ linear = {first} }}, {{ activation = "relu" }}, {{ linear = {second} }}, {{ linear = 1 }}'
        report = _job(folder / str(about), arguments.broker, layers, COLUMNS, rows=40, rounds=rounds, batch_size=40)
        parameters = (COLUMNS + 1) * first + (first + 1) * second + second + 1
        memory = max(report["peak_memory_bytes"].values())
        if not about:
            idle = memory
            continue
        raw = 4 * parameters
        sent = report["bytes_sent"]
        # One party sends the first weights; the coordinator sends the last ones besides those of each round.
        ways = {"up": sent["p1"] / (rounds * raw), "down": sent["coordinator"] / (2 * (rounds + 1) * raw)}
        ratio = (memory - idle) / raw
        figures["memory_ratio_by_parameters"][str(parameters)] = ratio
        figures["seconds_per_round_by_parameters"][str(parameters)] = report["round_latency_seconds"]["p50"]
        print(
            f"{parameters:,} parameters: {ways['up']:.3f} of the weights' bytes up and {ways['down']:.3f} down, "
            f"{ratio:.2f} of them in memory, {report['round_latency_seconds']['p50']:.2f} s a round",
            flush=True,
        )
        if about == 1_000_000:
            figures["bytes_ratio"] = max(ways.values())
        figures["memory_ratio"] = ratio
    return figures


def _job(
    folder: Path, broker: str, layers: str, columns: int, *, rows: int, rounds: int, batch_size: int
) -> dict[str, Any]:
    folder.mkdir(parents=True)
    job, files = write_job(folder, ["p0", "p1"], layers, columns, rows, rounds, f"batch_size = {batch_size}\n")
    return simulation.run(job, files, broker, ROLES, lambda _: None).to_map()


def write_job(
    folder: Path, parties: list[str], layers: str, columns: int, rows: int, rounds: int, more: str = ""
) -> tuple[Path, list[Path]]:
    """A job file and party files, with tables of independent normal values and a label that is linear in them."""
    random = np.random.default_rng(7)
    weights, files = random.normal(size=columns) / columns**0.5, []
    lines = ['name = "bench"', 'algorithm = "fedavg"', 'label = "y"']
    for party in parties:
        features = random.normal(size=(rows, columns))
        table = np.column_stack([features, features @ weights + random.normal(scale=0.1, size=rows)])
        text = [",".join(["id", *(f"c{number}" for number in range(columns)), "y"])]
        text += [f"{number}," + ",".join(f"{value:.6f}" for value in row) for number, row in enumerate(table)]
        (folder / f"{party}.csv").write_text("\n".join(text) + "\n", "utf-8")
        files.append(folder / f"{party}.toml")
        own = f'name = "{party}"\nstate = "{party}.db"\n[datasets.rows]\nsource = "{party}.csv"\nid = "id"\n'
        files[-1].write_text(own, "utf-8")
        lines += ["[[parties]]", f'party = "{party}"', 'dataset = "rows"']
    lines += ["[model]", f"layers = [{layers}]", "[params]", f"rounds = {rounds}", "learning_rate = 0.001"]
    job = folder / "job.toml"
    job.write_text("\n".join(lines) + "\n" + more, "utf-8")
    return job, files


def _masking() -> dict[str, object]:
    """One party's work for one peer, from float32 to residues behind masks, against a sum of two float32 vectors."""
    ring = FixedRing.plan(8.0, 26, 2)
    random = np.random.default_rng(3)
    own, other = (random.normal(size=MASKED).astype(np.float32) for _ in range(2))
    masks = secure_masks.Masks(bytes(32), {"peer": bytes(range(32))}, "self")
    block = 1 << 18

    def hide() -> None:
        for start in range(0, MASKED, block):
            residues = ring.encode(own[start : start + block], 0.5)
            masks.apply(residues, start)

    hiding, adding = _median(hide), _median(lambda: np.add(own, other))
    print(f"{MASKED / hiding / 1e6:.0f} million parameters a second are hidden; a sum adds {MASKED / adding / 1e6:.0f}")
    return {"masking_ratio": adding / hiding, "masked_parameters_per_second": MASKED / hiding}


def _median(work: Any) -> float:
    seconds = []
    for _ in range(9):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _vanishing(folder: Path, rounds: int) -> dict[str, object]:
    folder.mkdir()
    layers = '{ linear = 4 }, { activation = "tanh" }, { linear = 1 }'
    course = "batch_size = 10\ndeadline = 1.0\n[limits]\nresend = 1.0\n"
    job, files = write_job(folder, [f"p{number}" for number in range(10)], layers, 3, 20, rounds, course)
    federation = Vanishing(job, files, vanishing=3)
    report = federation.run(folder)
    record = federation.record
    # The sums of columns' means and variances come first.
    exact = record.exact[len(record.exact) - report["rounds"] :]
    print(
        f"{sum(exact)} of {report['rounds']} rounds exact; parties vanished {record.vanished}, "
        f"{sum(report['missing'])} updates were missing"
    )
    return {"dropout_rounds_exact": sum(exact), "dropout_updates_missing": sum(report["missing"])}
