"""The engine does operations on whole vectors, spread over child processes,
or over threads where the arithmetic is native.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fedbus import metrics
from fedbus.crypto import curve, tasks, tier
from fedbus.crypto.ahead import ahead
from fedbus.crypto.curve import POINT_BYTES, RISTRETTO255, X25519
from fedbus.crypto.paillier import Ints, PrivateKey, PublicKey
from fedbus.crypto.pool import Pool
from fedbus.crypto.reserve import Reserve
from fedbus.crypto.tasks import Task
from fedbus.crypto.tensor import CipherTensor
from fedbus.crypto.threads import Threads

_MIN_HASHES = 500
_MIN_POINTS = 100


@dataclass(frozen=True)
class _Least:
    """The least of each operation that is worth sending to another process or thread: about 5 ms."""

    obfuscations: int
    decryptions: int
    checks: int
    cells: int


_PORTABLE = _Least(obfuscations=8, decryptions=4, checks=1000, cells=1000)
_NATIVE = _Least(obfuscations=80, decryptions=16, checks=4000, cells=10_000)


class Engine:
    """The arithmetic of a process. Every operation blocks until its whole result is there, in order.

    It is thread safe; several jobs share one. Besides what it says itself, every operation raises CryptoError when the
    engine is closed meanwhile, or when child processes die at its second attempt too.

    Args:
        processes: how many child processes; None for one a processor, 0 to compute in the calling thread. The native
            arithmetic takes as many threads instead, and leaves to child processes what is not Paillier's.
    """

    def __init__(self, processes: int | None = None) -> None:
        self._pool = Pool((os.cpu_count() or 1) if processes is None else processes)
        native = tier.native() is not None
        self._threads = Threads(self._pool.processes)
        self._workers: Pool | Threads = self._threads if native else self._pool
        self._least = _NATIVE if native else _PORTABLE
        self._reserve = Reserve(self._workers, lambda count, seconds: _count("obfuscator", count, seconds))

    def warm_up(self) -> None:
        """Start the child processes now rather than at the first operation."""
        self._pool.warm_up()

    def prefill(self, key: PublicKey, count: int) -> None:
        """Keep up to `count` obfuscators ready, which are made in idle time; 0 stops it.
        Without child processes it does nothing.
        """
        self._reserve.prefill(key, count)

    def prefilled(self, key: PublicKey) -> int:
        """Return how many obfuscators are ready."""
        return self._reserve.ready(key)

    def close(self) -> None:
        """End the child processes and threads at once. What they were doing raises CryptoError.
        A second call does nothing.
        """
        self._threads.close()
        self._pool.close()

    def generate_keypair(self, bits: int = 2048) -> PrivateKey:
        """Make a key pair, as `keys.generate_keypair` does."""
        (private,) = self._run("generate", 1, tasks.generate_keypair, [(bits,)], self._pool)
        assert isinstance(private, PrivateKey)  # noqa: S101  # for the type checker
        return private

    def encrypt(self, key: PublicKey, ints: Ints, scale: int) -> CipherTensor:
        """Encrypt integers, as `PublicKey.encrypt` does."""
        return self._obfuscating("encrypt", key, tasks.encrypt, len(ints), lambda a, b: (ints[a:b], scale))

    def obfuscate(self, key: PublicKey, tensor: CipherTensor) -> CipherTensor:
        """Make ciphertexts unrecognisable, as `PublicKey.obfuscate` does."""
        return self._obfuscating("obfuscate", key, tasks.obfuscate, len(tensor), lambda a, b: (tensor.part(a, b),))

    def add_plain_obfuscated(self, key: PublicKey, tensor: CipherTensor, ints: Ints) -> CipherTensor:
        """Add plain integers, as `PublicKey.add_plain` does, and obfuscate the result, so that it may leave.
        Masks are added in this way.
        """
        if len(ints) != len(tensor):
            raise ValueError(f"{len(ints)} integers cannot be added to {len(tensor)} ciphertexts")

        def part(start: int, stop: int) -> tuple[Any, ...]:
            return tensor.part(start, stop), ints[start:stop]

        return self._obfuscating("obfuscate", key, tasks.add_plain_obfuscated, len(tensor), part)

    def matvec(self, key: PublicKey, matrix: np.ndarray, tensor: CipherTensor, matrix_scale: int) -> CipherTensor:
        """Multiply a matrix by an encrypted vector, as `PublicKey.matvec` does. The result is NOT obfuscated."""
        if matrix.ndim != 2 or len(matrix) != len(tensor):
            raise ValueError(f"a matrix {matrix.shape} does not fit {len(tensor)} ciphertexts")
        rows, columns = matrix.shape
        # Cut by columns the buckets are shared best, but few columns cannot be dealt out evenly.
        if columns >= 3 * self._pool.processes or not columns:
            spans = self._spans(columns, self._least.cells // max(1, rows))
            loaded = self._load(key, tensor) if len(spans) > 1 else None
            pieces: list[tuple[Any, ...]] = [
                (key, matrix[:, start:stop], tensor, matrix_scale, loaded) for start, stop in spans
            ]
            return CipherTensor.join(self._run("multiply", matrix.size, tasks.matvec, pieces))
        spans = self._spans(rows, self._least.cells // columns)
        pieces = [(key, matrix[start:stop], tensor.part(start, stop), matrix_scale) for start, stop in spans]
        first, *others = self._run("multiply", matrix.size, tasks.matvec, pieces)
        total: CipherTensor = first
        for other in others:
            total = key.add(total, other)
        return total

    def _load(self, key: PublicKey, tensor: CipherTensor) -> bytes | None:
        """What threads can share; child processes could not."""
        if self._workers is self._pool:
            return None
        pieces = [(key, tensor.part(*span)) for span in self._spans(len(tensor), self._least.checks)]
        return b"".join(self._run("multiply", 0, tasks.load, pieces))

    def check(self, key: PublicKey, tensor: CipherTensor) -> None:
        """Check a vector that arrived, as `PublicKey.check` does."""
        pieces = [
            (key, tensor.part(start, stop), start) for start, stop in self._spans(len(tensor), self._least.checks)
        ]
        self._run("check", len(tensor), tasks.check, pieces)

    def decrypt(self, private: PrivateKey, tensor: CipherTensor) -> list[int]:
        """Decrypt a vector, as `PrivateKey.decrypt` does."""
        return self._decrypt(private, tensor, tasks.decrypt)

    def decrypt_residues(self, private: PrivateKey, tensor: CipherTensor) -> list[int]:
        """Decrypt a vector to residues, as `PrivateKey.decrypt_residues` does."""
        return self._decrypt(private, tensor, tasks.decrypt_residues)

    def hash_to_group(self, ids: Sequence[str], domain: bytes, group: str = RISTRETTO255) -> bytes:
        """Turn ids into elements of a group, as `curve.hash_to_group` does."""
        pieces = [(ids[start:stop], domain, group) for start, stop in self._spans(len(ids), _MIN_HASHES)]
        return b"".join(self._run("hash", len(ids), tasks.hash_to_group, pieces, self._for(group)))

    def blind(self, points: bytes, scalar: bytes, group: str = RISTRETTO255, first: int = 0) -> bytes:
        """Raise elements to a secret exponent, as `curve.blind` does."""
        count = len(points) // POINT_BYTES
        edges = [(start * POINT_BYTES, stop * POINT_BYTES) for start, stop in self._spans(count, _MIN_POINTS)]
        # The last piece takes what is left, so that a broken length is refused where all are.
        edges[-1] = edges[-1][0], len(points)
        pieces = [(points[start:stop], scalar, first + start // POINT_BYTES, group) for start, stop in edges]
        return b"".join(self._run("blind", count, tasks.blind, pieces, self._for(group)))

    def blind_each(self, chunks: Iterable[bytes], scalar: bytes, group: str = RISTRETTO255) -> Iterator[bytes]:
        """Blind one chunk after the other. The next one is computed while the caller handles the last."""

        def numbered() -> Iterator[tuple[bytes, int]]:
            first = 0
            for points in chunks:
                yield points, first
                first += len(points) // POINT_BYTES

        return ahead(lambda chunk: self.blind(chunk[0], scalar, group, chunk[1]), numbered())

    def _for(self, group: str) -> Pool | Threads:
        """Return who computes in a group: the extension needs no process of its own."""
        return self._threads if group == X25519 and curve.native() else self._pool

    def _decrypt(self, private: PrivateKey, tensor: CipherTensor, task: Task) -> list[int]:
        pieces = [
            (private, tensor.part(start, stop)) for start, stop in self._spans(len(tensor), self._least.decryptions)
        ]
        return [value for values in self._run("decrypt", len(tensor), task, pieces) for value in values]

    def _obfuscating(
        self, operation: str, key: PublicKey, task: Task, count: int, part: Callable[[int, int], tuple[Any, ...]]
    ) -> CipherTensor:
        """Run an operation that uses up an obfuscator an element; those in stock go first, dealt out evenly."""
        stock, spans = self._reserve.take(key, count), self._spans(count, self._least.obfuscations)
        ready = len(stock) // key.width
        edges = [ready * number // len(spans) * key.width for number in range(len(spans) + 1)]
        pieces = [
            (key, *part(*span), stock[first:last]) for span, (first, last) in zip(spans, pairwise(edges), strict=True)
        ]
        return CipherTensor.join(self._run(operation, count, task, pieces))

    def _spans(self, count: int, least: int) -> list[tuple[int, int]]:
        """Cut 0..count into about equal (start, stop), at most one a process, each of at least `least`."""
        number = max(1, min(self._pool.processes, count // max(1, least)))
        return [(count * piece // number, count * (piece + 1) // number) for piece in range(number)]

    def _run(
        self,
        operation: str,
        count: int,
        task: Task,
        pieces: Sequence[tuple[Any, ...]],
        workers: Pool | Threads | None = None,
    ) -> list[Any]:
        with self._reserve.paused():
            results, seconds = (workers or self._workers).run(task, pieces)
        _count(operation, count, seconds)
        return results


def _count(operation: str, count: int, seconds: float) -> None:
    metrics.crypto_operations.labels(operation).inc(count)
    metrics.crypto_seconds.labels(operation).inc(seconds)
