#!/usr/bin/env python3
"""Make the vertical sample data from boston_housing.csv: products of a shop (guest) and users of a bank (host).

    ops/data/split_boston.py [FOLDER]       default: the folder `sample` beside this file

The same bytes every time. The rows are shuffled and cut into train and test as Keras does it for this data set, so that
figures can be compared. Each side then holds about nine tenths of the ids, its own choice in its own order: aligning
them is part of the exercise. Numbers are copied as text.
"""

from __future__ import annotations

import csv
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
SHUFFLE_SEED = 113
TRAIN_ROWS = 404
KEPT = 0.9

ID = "user_id"
SIDES = {
    "products": ("CHAS", "NOX", "RM", "AGE", "DIS", "RAD", "MEDV"),
    "users": ("CRIM", "ZN", "INDUS", "TAX", "PTRATIO", "B", "LSTAT"),
}


def main(arguments: Sequence[str]) -> None:
    """Write the four files into the folder named, which is made where there is none."""
    folder = Path(arguments[0]) if arguments else HERE / "sample"
    folder.mkdir(parents=True, exist_ok=True)
    for path in split(HERE / "boston_housing.csv", folder):
        print(path)


def split(source: Path, folder: Path) -> list[Path]:
    """Write products.csv, users.csv, products_test.csv and users_test.csv; returns their paths."""
    with source.open(encoding="ascii", newline="") as stream:
        size, header, *rows = csv.reader(stream)
    if int(size[0]) != len(rows):
        raise SystemExit(f"{source}: row 1 promises {size[0]} rows and there are {len(rows)}; copy the file again")
    order = np.arange(len(rows))
    np.random.RandomState(SHUFFLE_SEED).shuffle(order)
    parts = {"": order[:TRAIN_ROWS], "_test": order[TRAIN_ROWS:]}

    written = []
    for suffix, part in parts.items():
        for number, (side, columns) in enumerate(SIDES.items()):
            # A seed for each file, which differs from the shuffle's and from the other files'.
            random = np.random.RandomState([SHUFFLE_SEED, number, len(part)])
            held = random.permutation(part)[: round(KEPT * len(part))]
            path = folder / f"{side}{suffix}.csv"
            with path.open("w", encoding="ascii", newline="") as stream:
                writer = csv.writer(stream, lineterminator="\n")
                writer.writerow([ID, *columns])
                for row in held:
                    writer.writerow([pseudonym(int(row)), *(rows[row][header.index(name)] for name in columns)])
            written.append(path)
    return written


def pseudonym(row: int) -> str:
    """The id of a row of the source: "c" and eight hexadecimal digits, the same on both sides."""
    return "c" + hashlib.sha256(b"fedbus sample %d" % row).hexdigest()[:8]


if __name__ == "__main__":
    main(sys.argv[1:])
