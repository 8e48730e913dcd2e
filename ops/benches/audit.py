"""What the audit log costs a party: the transaction that puts a message into the outbox, with a record and without.

Transactions of both kinds take turns, for messages of 1 KiB and 1 MiB. `ratio_…` is the median of times of pairs next
to each other, `added_ms_…` the median of the processor time between the two, `write_ms_…` the time without a record.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fedbus.job import JobState
from fedbus.store.records import StoredMessage
from fedbus.store.sqlite import SqliteStore

_SHAPE = "residues bytes[1048576], seconds number"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    parser.add_argument("--writes", type=int, default=200, help="messages of each size, with and without a record")
    parser.add_argument("--folder", type=Path, help="where the store lies; a temporary folder if left out")


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """The figures of both sizes."""
    figures: dict[str, object] = {}
    chance = random.Random(1)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder, SqliteStore(Path(folder) / "store.db") as store:
        store.add_job("job", b"spec", JobState.RUNNING)
        for name, size in (("1KiB", 1024), ("1MiB", 1024**2)):
            body, pairs = os.urandom(size), []
            for number in range(arguments.writes):
                # In no regular order: the log is moved into the file after every few transactions, by one of them.
                kinds = chance.sample((None, _SHAPE), 2)
                took = {kind: _timed(_writing(store, f"{name}-{number}-{kind}", body, kind)) for kind in kinds}
                pairs.append((took[None], took[_SHAPE]))
            figures[f"ratio_{name}"] = statistics.median(after.wall / before.wall for before, after in pairs)
            figures[f"added_ms_{name}"] = 1e3 * statistics.median(after.own - before.own for before, after in pairs)
            figures[f"write_ms_{name}"] = 1e3 * statistics.median(before.wall for before, _ in pairs)
    return figures


def _writing(store: SqliteStore, message: str, body: bytes, shape: str | None) -> Callable[[], object]:
    stored = StoredMessage(message, "job", "coordinator", "masked_update", 1, 0, 0, body, shape)
    return lambda: store.write("job", posted=[stored])


class _Took(NamedTuple):
    """Seconds of some work: on the clock, and of the processor."""

    wall: float
    own: float


def _timed(work: Callable[[], object]) -> _Took:
    wall, own = time.perf_counter(), time.thread_time()
    work()
    return _Took(time.perf_counter() - wall, time.thread_time() - own)
