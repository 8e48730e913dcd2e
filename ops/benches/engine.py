"""The arithmetic of one key in both tiers, each as a ratio to python-paillier in the same run.

Times are processor seconds of one core, medians over the repetitions, all taken in turn; ratios are phe's time over
ours. phe's gradients are measured on --phe-rows and extrapolated: its time is proportional to the rows. Two cores are
compared with one by the clock, best against best, since the machine may have other work.

`bound_ratio` is what a gradient attains of the bound: the multiplications that its algorithm needs, done as fast as the
kernel does nothing else. For gmpy2 the kernel is `x * y % m`.
"""

from __future__ import annotations

import argparse
import operator
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, reduce
from typing import Any

import gmpy2
import numpy as np

from fedbus.crypto import interop, multiexp, tier
from fedbus.crypto.engine import Engine
from fedbus.crypto.keys import generate_keypair
from fedbus.crypto.paillier import PrivateKey
from fedbus.crypto.ring import Ring
from fedbus.crypto.tensor import CipherTensor

_SCALE = 40
_GRADIENTS = (16, 24)
_KERNEL = 400

Work = dict[str, tuple[Callable[[], Any], float]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--key-bits", type=int, default=2048, help="bits of the modulus n (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=10_000, help="rows of X (default: %(default)s)")
    parser.add_argument("--columns", type=int, default=20, help="columns of X (default: %(default)s)")
    parser.add_argument("--phe-rows", type=int, default=300, help="rows for phe's gradients (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=5, help="repetitions (default: %(default)s)")


def run(arguments: argparse.Namespace) -> dict[str, object]:
    random, repeat = np.random.default_rng(16), arguments.repeat
    private = generate_keypair(arguments.key_bits)
    residuals = random.integers(-(1 << _SCALE), 1 << _SCALE, size=arguments.rows)
    tensor = private.public.encrypt(residuals, _SCALE)
    shape = (arguments.rows, arguments.columns)
    matrices = {bits: random.integers(-(1 << (bits - 1)), 1 << (bits - 1), size=shape) for bits in _GRADIENTS}
    reference = _phe(private, tensor, matrices, min(arguments.phe_rows, arguments.rows))
    tiers = [name for name in (tier.NATIVE, tier.PORTABLE) if _available(name)]

    works: dict[str, Work] = {"phe": reference}
    works |= {name: _ours(private, tensor, residuals, matrices, name) for name in tiers}
    seconds = _measure(works, repeat)
    figures: dict[str, object] = {"key_bits": arguments.key_bits, "rows": shape[0], "columns": shape[1]}
    count = multiexp.cheapest(shape[0], multiexp.bounds(matrices[16]))[1]
    print(f"key of {arguments.key_bits} bits, X of {shape[0]:,} x {shape[1]}; microseconds, gradients in seconds")
    print(f"{'':12}{'phe':>10}" + "".join(f"{name:>12}{'ratio':>8}" for name in tiers))
    for operation in reference:
        theirs = seconds["phe", operation]
        unit = 1 if operation.startswith("gradient") else 1e6
        line = f"{operation:12}{theirs * unit:>10.2f}"
        figures[f"phe_{operation}_seconds"] = theirs
        for name in tiers:
            prefix, ours = _prefix(name), seconds[name, operation]
            figures[f"{prefix}{operation}_seconds"], figures[f"{prefix}{operation}_ratio"] = ours, theirs / ours
            line += f"{ours * unit:>12.3f}{theirs / ours:>8.1f}"
        print(line, flush=True)
    for name in tiers:
        prefix = _prefix(name)
        rate, kernel = count / seconds[name, "gradient16"], 1 / seconds[name, "kernel"]
        figures |= {f"{prefix}multiplications_per_second": rate, f"{prefix}kernel_per_second": kernel}
        figures[f"{prefix}bound_ratio"] = rate / kernel
        figures[f"{prefix}two_core_ratio"] = _two_cores(private, tensor, matrices[16], name, repeat)
        print(f"{name}: {rate:,.0f} multiplications a second in a gradient, {kernel:,.0f} in the kernel alone")
    figures["gradient16_multiplications"] = count
    return figures


def _prefix(name: str) -> str:
    return "" if name == tier.NATIVE else f"{name}_"


@contextmanager
def _using(name: str) -> Iterator[None]:
    before = os.environ.get("FEDBUS_TIER", "")
    os.environ["FEDBUS_TIER"] = name
    tier.current.cache_clear()
    try:
        yield
    finally:
        os.environ["FEDBUS_TIER"] = before
        tier.current.cache_clear()


def _available(name: str) -> bool:
    with _using(tier.PORTABLE if name == tier.PORTABLE else ""):
        found, why = tier.current()
    if found != name:
        print(f"no {name} tier: {why}")
    return found == name


def _phe(private: PrivateKey, tensor: CipherTensor, matrices: dict[int, np.ndarray], rows: int) -> Work:
    """What python-paillier is measured at: for each operation the work and how many times it is done in it."""
    theirs, public = interop.private_to_phe(private), interop.public_to_phe(private.public)
    numbers = interop.to_phe(private.public, tensor.part(0, rows))
    some = numbers[:24]
    # phe multiplies by Python integers; turning them into those is not what is compared.
    cells = {bits: matrix[:rows].T.tolist() for bits, matrix in matrices.items()}

    def gradient(bits: int) -> list[Any]:
        return [reduce(operator.add, map(operator.mul, numbers, column)) for column in cells[bits]]

    work: Work = {f"gradient{bits}": (partial(gradient, bits), rows / len(tensor)) for bits in matrices}
    work["encrypt"] = (lambda: [public.encrypt(value) for value in range(len(some))], len(some))
    work["decrypt"] = (lambda: [theirs.decrypt(number) for number in some], len(some))
    work["add"] = (lambda: [a + b for a, b in zip(numbers, reversed(numbers), strict=True)], len(numbers))
    return work


def _ours(
    private: PrivateKey, tensor: CipherTensor, residuals: np.ndarray, matrices: dict[int, np.ndarray], name: str
) -> Work:
    key, many = private.public, 800 if name == tier.NATIVE else 80
    part = tensor.part(0, min(len(tensor), 4000))

    def gradient(bits: int) -> CipherTensor:
        return key.matvec(matrices[bits], tensor, 0)

    work: Work = {f"gradient{bits}": (partial(gradient, bits), 1) for bits in matrices}
    work["encrypt"] = (lambda: key.encrypt(np.arange(many), 0), many)
    work["decrypt"] = (lambda: private.decrypt(tensor.part(0, many // 2)), many // 2)
    work["add"] = (lambda: key.add(part, part), len(part))
    work["kernel"] = _kernel(private, name)
    with _using(name):
        # The first encryption makes the key's table, and what is compared must be the same.
        for bits, matrix in matrices.items():
            expected = [sum(map(operator.mul, column, residuals.tolist())) for column in matrix.T.tolist()]
            if private.decrypt(gradient(bits)) != expected:
                raise AssertionError("a gradient does not decrypt to what it is")
        for function, _ in work.values():
            function()
    return work


def _kernel(private: PrivateKey, name: str) -> tuple[Callable[[], Any], float]:
    if name == tier.NATIVE:
        ring = Ring(private.public.n)
        return lambda: ring.exercise(ring.one, _KERNEL), 8 * _KERNEL
    modulus = private.public.nsquare
    x = gmpy2.powmod(3, private.public.n - 1, modulus)

    def multiply() -> None:
        y = x
        for _ in range(_KERNEL):
            y = y * x % modulus

    return multiply, _KERNEL


def _measure(works: dict[str, Work], repeat: int) -> dict[tuple[str, str], float]:
    """Processor seconds of one operation."""
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(repeat):
        for operation in dict.fromkeys(operation for work in works.values() for operation in work):
            for name, work in works.items():
                if operation in work:
                    function, count = work[operation]
                    with _using("" if name == "phe" else name):
                        start = time.process_time()
                        function()
                        taken = time.process_time() - start
                    times.setdefault((name, operation), []).append(taken / count)
    return {key: statistics.median(values) for key, values in times.items()}


def _two_cores(private: PrivateKey, tensor: CipherTensor, matrix: np.ndarray, name: str, repeat: int) -> float:
    """How much faster encryption, a gradient and decryption are together with two workers than with one."""
    key, rows = private.public, len(tensor) if name == tier.NATIVE else len(tensor) // 8
    many = 2000 if name == tier.NATIVE else 200
    works: list[Callable[[Engine], Any]] = [
        lambda engine: engine.encrypt(key, np.arange(many), 0),
        lambda engine: engine.matvec(key, matrix[:rows], tensor.part(0, rows), 0),
        lambda engine: engine.decrypt(private, tensor.part(0, many // 4)),
    ]
    with _using(name):
        engines = [Engine(1), Engine(2)]
        best = [[float("inf")] * len(works) for _ in engines]
        for attempt in range(3 * repeat + 1):
            for place, work in enumerate(works):
                for number, engine in enumerate(engines):
                    start = time.perf_counter()
                    work(engine)
                    # The first makes the key's table, in child processes too.
                    if attempt:
                        best[number][place] = min(best[number][place], time.perf_counter() - start)
        for engine in engines:
            engine.close()
    return sum(best[0]) / sum(best[1])
