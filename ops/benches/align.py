"""Alignment of two parties with half of their ids in common: rows a second a core, and the cost by rows."""

from __future__ import annotations

import argparse
import os
import threading
import time

from common import sessions, specification
from fedbus.crypto.engine import Engine
from parties import align


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rows",
        type=int,
        nargs="+",
        default=[10_000, 50_000, 200_000],
        help="rows of each party (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> dict[str, object]:
    cores = os.cpu_count() or 1
    engine = Engine(None)
    try:
        engine.warm_up()
        seconds = {rows: _align(engine, rows) for rows in arguments.rows}
    finally:
        engine.close()
    largest, smallest = max(arguments.rows), min(arguments.rows)
    return {
        "rows_per_second_per_core": largest / seconds[largest] / cores,
        "seconds": {str(rows): value for rows, value in seconds.items()},
        "microseconds_per_row": {str(rows): value / rows * 1e6 for rows, value in seconds.items()},
        "cost_of_a_row_largest_to_smallest": (seconds[largest] / largest) / (seconds[smallest] / smallest),
        "cores": cores,
    }


def _align(engine: Engine, rows: int) -> float:
    guest_ids = [f"user-{number}" for number in range(rows)]
    host_ids = [f"user-{number}" for number in range(rows // 2, rows + rows // 2)]
    found: dict[str, int] = {}
    with sessions(specification()) as opened:

        def host() -> None:
            found["bank"] = len(align.host(opened["bank"], engine, host_ids))

        thread = threading.Thread(target=host)
        start = time.perf_counter()
        thread.start()
        found["shop"] = len(align.guest(opened["shop"], engine, guest_ids))
        thread.join()
        seconds = time.perf_counter() - start
    if set(found.values()) != {rows - rows // 2}:
        raise AssertionError(f"the alignment found {found} common rows of {rows - rows // 2}")
    return seconds
