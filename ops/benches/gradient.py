"""One encrypted gradient, X^T [[d]] by multi-exponentiation, against python-paillier in the same run on one core.

Both sides start from ciphertexts in memory and end with ciphertexts, which must decrypt to the same integers. Neither
re-randomises its result. Times are processor seconds, medians over the repetitions, taken in turn.
"""

from __future__ import annotations

import argparse
import operator
import statistics
import time
from collections.abc import Callable
from functools import reduce
from typing import TypeVar

import numpy as np

from fedbus.crypto import interop
from fedbus.crypto.keys import generate_keypair

T = TypeVar("T")

_RESIDUAL_SCALE = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=10_000, help="rows of X (default: %(default)s)")
    parser.add_argument("--columns", type=int, default=20, help="columns of X (default: %(default)s)")
    parser.add_argument("--bits", type=int, default=16, help="bits of a cell of X with its sign (default: %(default)s)")
    parser.add_argument("--key-bits", type=int, default=2048, help="bits of the modulus n (default: %(default)s)")
    parser.add_argument("--phe-rows", type=int, help="rows that phe is measured on, then extrapolated (default: all)")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions, of which the median (default: %(default)s)")


def run(arguments: argparse.Namespace) -> dict[str, object]:
    rows, columns = arguments.rows, arguments.columns
    phe_rows = min(rows, arguments.phe_rows or rows)
    random = np.random.default_rng(16)
    limit = 1 << (arguments.bits - 1)
    matrix = random.integers(-limit, limit, size=(rows, columns), dtype=np.int64)
    residuals = random.integers(-(1 << _RESIDUAL_SCALE), 1 << _RESIDUAL_SCALE, size=rows, dtype=np.int64)

    private = generate_keypair(arguments.key_bits)
    key, theirs = private.public, interop.private_to_phe(private)
    tensor = key.encrypt(residuals, _RESIDUAL_SCALE)
    numbers = interop.to_phe(key, tensor.part(0, phe_rows))
    # phe multiplies by Python integers; turning them into those is not what is compared.
    cells = matrix[:phe_rows].T.tolist()

    ours_seconds, phe_seconds = [], []
    for _ in range(arguments.repeat):
        ours, seconds = _timed(lambda: key.matvec(matrix, tensor, 0))
        ours_seconds.append(seconds)
        reference, seconds = _timed(
            lambda: [reduce(operator.add, map(operator.mul, numbers, column)) for column in cells]
        )
        phe_seconds.append(seconds * rows / phe_rows)

    expected = [sum(map(operator.mul, column, residuals.tolist())) for column in matrix.T.tolist()]
    compared = ours if phe_rows == rows else key.matvec(matrix[:phe_rows], tensor.part(0, phe_rows), 0)
    opened = [_signed(theirs.raw_decrypt(number.ciphertext(be_secure=False)), key.n) for number in reference]
    if private.decrypt(ours) != expected or private.decrypt(compared) != opened:
        raise AssertionError("the two gradients do not decrypt to the same integers")

    seconds, phe = statistics.median(ours_seconds), statistics.median(phe_seconds)
    size = f"X^T[[d]], {rows:,} x {columns}, {arguments.bits} bits, key of {arguments.key_bits} bits, one core"
    note = "" if phe_rows == rows else f" (extrapolated from {phe_rows:,} rows)"
    print(f"{size}\n{'':10}{'seconds':>10}{'us a cell':>12}")
    for name, value, remark in (("fedbus", seconds, ""), ("phe", phe, note)):
        print(f"{name:10}{value:>10.2f}{value / rows / columns * 1e6:>12.2f}{remark}")
    print(f"{'ratio':10}{phe / seconds:>10.2f}", flush=True)
    return {
        "seconds": seconds,
        "phe_seconds": phe,
        "ratio": phe / seconds,
        "seconds_all": ours_seconds,
        "phe_seconds_all": phe_seconds,
        "phe_rows_measured": phe_rows,
        "rows": rows,
        "columns": columns,
        "bits": arguments.bits,
        "key_bits": arguments.key_bits,
    }


def _timed(function: Callable[[], T]) -> tuple[T, float]:
    start = time.process_time()
    result = function()
    return result, time.process_time() - start


def _signed(residue: int, modulus: int) -> int:
    return residue - modulus if residue > modulus // 2 else residue
