#!/usr/bin/env python3
"""Make the horizontal sample data from boston_housing.csv: the same columns at two parties, other rows at each.

    ops/data/deal_boston.py [FOLDER]       default: the folder `sample_rows` beside this file

The same bytes every time. The rows are shuffled and cut into train and test as split_boston.py does it, then dealt in
batches of 8, the first to bob, the next to alice, and so on. Numbers are copied as text.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
SHUFFLE_SEED = 113
TRAIN_ROWS = 404
BATCH = 8
PARTIES = ("bob", "alice")


def main(arguments: Sequence[str]) -> None:
    """Write the four files into the folder named, which is made where there is none."""
    folder = Path(arguments[0]) if arguments else HERE / "sample_rows"
    folder.mkdir(parents=True, exist_ok=True)
    for path in deal(HERE / "boston_housing.csv", folder):
        print(path)


def deal(source: Path, folder: Path) -> list[Path]:
    """Write bob.csv, alice.csv, bob_test.csv and alice_test.csv; returns their paths."""
    with source.open(encoding="ascii", newline="") as stream:
        _, header, *rows = csv.reader(stream)
    order = np.arange(len(rows))
    np.random.RandomState(SHUFFLE_SEED).shuffle(order)
    written = []
    for suffix, part in (("", order[:TRAIN_ROWS]), ("_test", order[TRAIN_ROWS:])):
        batches = [part[start : start + BATCH] for start in range(0, len(part), BATCH)]
        for number, party in enumerate(PARTIES):
            path = folder / f"{party}{suffix}.csv"
            with path.open("w", encoding="ascii", newline="") as stream:
                writer = csv.writer(stream, lineterminator="\n")
                writer.writerow(["tract", *header])
                for row in np.concatenate(batches[number :: len(PARTIES)]):
                    writer.writerow([int(row), *rows[row]])
            written.append(path)
    return written


if __name__ == "__main__":
    main(sys.argv[1:])
