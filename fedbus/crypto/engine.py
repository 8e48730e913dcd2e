"""Whole-vector arithmetic spread over child processes, for gmpy2 holds the interpreter's lock while it computes.

Children are spawned, not forked: a process with threads must not fork. They end with their parent, also when that is
killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import reduce
from itertools import pairwise
from multiprocessing import connection
from typing import Any

import numpy as np
import structlog

from fedbus import metrics
from fedbus.crypto import tasks
from fedbus.crypto.curve import POINT_BYTES
from fedbus.crypto.paillier import Ints, PrivateKey, PublicKey
from fedbus.crypto.tasks import Task
from fedbus.crypto.tensor import CipherTensor
from fedbus.errors import CryptoError

log = structlog.get_logger()

# A piece of work is worth the way to a child from about this many big-integer operations on.
_SMALLEST_PIECE = 16
_POINTS_A_PIECE = 256
# Background work comes in batches short enough (about 50 ms) not to keep anything urgent waiting.
_PREFILL_BATCH = 64


class Engine:
    """The arithmetic of one process; any number of threads may share it.

    Args:
        processes: children; 0 computes in the calling thread, None takes one a core.
    """

    def __init__(self, processes: int | None = None) -> None:
        self.processes = (os.cpu_count() or 1) if processes is None else processes
        self._lock = threading.Lock()
        self._executor: ProcessPoolExecutor | None = None
        self._closed = False
        self._obfuscators: dict[bytes, bytearray] = {}
        self._targets: dict[bytes, int] = {}
        self._filling = 0

    def close(self) -> None:
        """End the children, whatever they do. Idempotent."""
        with self._lock:
            self._closed = True
            executor, self._executor = self._executor, None
        if executor is not None:
            # The executor itself can only wait for what its children do, which may take hours.
            for child in list(executor._processes.values()):
                child.terminate()
            executor.shutdown(wait=True, cancel_futures=True)

    def warm_up(self) -> None:
        """Start all children now, so that the first operation does not wait for them."""
        barrier = [self._submit(tasks.nothing) for _ in range(self.processes)]
        for future in barrier:
            future.result()

    # Paillier; the methods of PublicKey and PrivateKey on whole vectors.

    def generate_keypair(self, bits: int) -> PrivateKey:
        """A new key; see `fedbus.crypto.keys`."""
        key: PrivateKey = self._map("generate_keypair", 1, tasks.generate_keypair, [(bits,)])[0]
        return key

    def encrypt(self, key: PublicKey, values: Ints, scale: int) -> CipherTensor:
        """Ciphertexts of signed integers, each obfuscated."""
        spans, ready = self._spans(len(values)), self._take(key, len(values))
        pieces = [(key, values[a:z], scale, _cut(ready, key.width, a, z)) for a, z in spans]
        return self._tensor("encrypt", len(values), tasks.encrypt, pieces)

    def add_plain_obfuscated(self, key: PublicKey, tensor: CipherTensor, values: Ints) -> CipherTensor:
        """Add integers or residues to ciphertexts, and obfuscate the sums."""
        spans, ready = self._spans(len(tensor)), self._take(key, len(tensor))
        pieces = [(key, tensor.part(a, z), values[a:z], _cut(ready, key.width, a, z)) for a, z in spans]
        return self._tensor("obfuscate", len(tensor), tasks.add_plain_obfuscated, pieces)

    def matvec(self, key: PublicKey, matrix: np.ndarray, tensor: CipherTensor, matrix_scale: int) -> CipherTensor:
        """[[matrix^T v]] from [[v]], one ciphertext a column; NOT obfuscated.

        Args:
            matrix: (rows, columns) int64 with `matrix_scale` fraction bits.
            tensor: (rows,).
        """
        rows, columns = matrix.shape
        operations = rows * columns
        if columns >= 2 * self.processes or rows < 2 * _SMALLEST_PIECE:
            spans = _spans(columns, min(self.processes, columns))
            pieces = [(key, matrix[:, a:z], tensor, matrix_scale) for a, z in spans]
            return self._tensor("multiply", operations, tasks.matvec, pieces)
        spans = _spans(rows, self.processes)
        pieces = [(key, matrix[a:z], tensor.part(a, z), matrix_scale) for a, z in spans]
        parts: list[CipherTensor] = self._map("multiply", operations, tasks.matvec, pieces)
        return reduce(key.add, parts)

    def decrypt(self, private: PrivateKey, tensor: CipherTensor) -> list[int]:
        """Signed plaintext integers."""
        n = private.public.n
        return [residue - n if residue > n // 2 else residue for residue in self.decrypt_residues(private, tensor)]

    def decrypt_residues(self, private: PrivateKey, tensor: CipherTensor) -> list[int]:
        """Plaintexts in [0, n)."""
        pieces = [(private, tensor.part(a, z)) for a, z in self._spans(len(tensor), 2)]
        return [value for part in self._map("decrypt", len(tensor), tasks.decrypt_residues, pieces) for value in part]

    def check(self, key: PublicKey, tensor: CipherTensor) -> None:
        """Raise WrongKey or InvalidCiphertext where the vector is not of this key."""
        pieces = [(key, tensor.part(a, z)) for a, z in self._spans(len(tensor), 512)]
        self._map("check", len(tensor), tasks.check, pieces)

    # The alignment group; see `fedbus.crypto.curve`.

    def hash_to_group(self, ids: Sequence[str], domain: bytes) -> bytes:
        """Points of ids, 32 bytes each."""
        pieces = [(ids[a:z], domain) for a, z in self._spans(len(ids), _POINTS_A_PIECE)]
        return b"".join(self._map("hash_to_group", len(ids), tasks.hash_to_group, pieces))

    def blind(self, points: bytes, scalar: bytes) -> bytes:
        """Points raised to a secret exponent."""
        count = len(points) // POINT_BYTES
        spans = self._spans(count, _POINTS_A_PIECE)
        pieces = [(points[a * POINT_BYTES : z * POINT_BYTES], scalar) for a, z in spans]
        return b"".join(self._map("blind", count, tasks.blind, pieces))

    # Obfuscators made in idle time.

    def prefill(self, key: PublicKey, count: int) -> None:
        """Make obfuscators in the background until `count` are ready; each is used once, by a later encryption."""
        if not self.processes:
            return
        with self._lock:
            self._targets[key.fingerprint] = count
        self._fill(key)

    def _fill(self, key: PublicKey) -> None:
        while True:
            with self._lock:
                ready = len(self._obfuscators.get(key.fingerprint, b"")) // key.width
                wanted = self._targets.get(key.fingerprint, 0) - ready - self._filling * _PREFILL_BATCH
                if self._closed or wanted <= 0 or self._filling >= self.processes:
                    return
                self._filling += 1
            try:
                future = self._submit(tasks.obfuscators, key, _PREFILL_BATCH)
            except (CryptoError, BrokenProcessPool):
                with self._lock:
                    self._filling -= 1
                return
            future.add_done_callback(lambda done: self._filled(key, done))

    def _filled(self, key: PublicKey, done: Future[tuple[bytes, float]]) -> None:
        failed = done.cancelled() or done.exception() is not None
        with self._lock:
            self._filling -= 1
            if not failed:
                self._obfuscators.setdefault(key.fingerprint, bytearray()).extend(done.result()[0])
        if not failed:
            metrics.crypto_seconds.labels("prefill").inc(done.result()[1])
            self._fill(key)

    def _take(self, key: PublicKey, count: int) -> bytes:
        with self._lock:
            ready = self._obfuscators.get(key.fingerprint)
            if ready is None:
                return b""
            taken = bytes(ready[: count * key.width])
            del ready[: count * key.width]
            # What is about to be made in the foreground need not be made in the background too.
            self._targets[key.fingerprint] = 0
            return taken

    # Children.

    def _spans(self, count: int, smallest: int = _SMALLEST_PIECE) -> list[tuple[int, int]]:
        return _spans(count, min(self.processes, -(-count // smallest)))

    def _tensor(self, operation: str, count: int, task: Task, pieces: Sequence[Any]) -> CipherTensor:
        return CipherTensor.join(self._map(operation, count, task, pieces))

    def _map(self, operation: str, count: int, task: Task, pieces: Sequence[tuple[Any, ...]]) -> list[Any]:
        if not self.processes:
            outcomes = [tasks.timed(task, *piece) for piece in pieces]
        else:
            try:
                outcomes = self._gather(task, pieces)
            except BrokenProcessPool:
                # A child was killed, by hand or for lack of memory; operations have no effect but their result.
                self._discard()
                log.warning("a child process died; its operation is done again", operation=operation)
                metrics.retries.labels("arithmetic").inc()
                outcomes = self._gather(task, pieces)
        metrics.crypto_operations.labels(operation).inc(count)
        metrics.crypto_seconds.labels(operation).inc(sum(seconds for _, seconds in outcomes))
        return [result for result, _ in outcomes]

    def _gather(self, task: Task, pieces: Sequence[tuple[Any, ...]]) -> list[tuple[Any, float]]:
        futures = [self._submit(task, *piece) for piece in pieces]
        return [future.result() for future in futures]

    def _submit(self, task: Callable[..., Any], *arguments: Any) -> Future[tuple[Any, float]]:
        with self._lock:
            if self._closed:
                raise CryptoError("the engine is closed")
            if self._executor is None:
                spawn = multiprocessing.get_context("spawn")
                self._executor = ProcessPoolExecutor(self.processes, spawn, initializer=_become_child)
            return self._executor.submit(tasks.timed, task, *arguments)

    def _discard(self) -> None:
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)


def _spans(count: int, pieces: int) -> list[tuple[int, int]]:
    """About equal parts of range(count), at least one."""
    pieces = max(1, min(pieces, count))
    edges = [count * number // pieces for number in range(pieces + 1)]
    return list(pairwise(edges))


def _cut(blob: bytes, width: int, start: int, stop: int) -> bytes:
    return blob[start * width : stop * width]


def _become_child() -> None:
    # The terminal's Ctrl-C is the parent's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
