"""Obfuscators are made in idle time: with one at hand an encryption takes microseconds."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fedbus.crypto import tasks
from fedbus.crypto.paillier import PublicKey
from fedbus.crypto.pool import Pool
from fedbus.crypto.threads import Threads
from fedbus.errors import CryptoError

MAX_BATCH = 64
_KEYS = 4


@dataclass
class _Stock:
    key: PublicKey
    wanted: int = 0
    coming: int = 0
    ready: bytearray = field(default_factory=bytearray)


class Reserve:
    """It keeps a stock of obfuscators for each of the last few keys, and hands out each of them once.

    It is filled by small batches, at most one for each child process, and only while nothing else is computed, so
    that other work waits for one batch at the most.

    Args:
        pool: whose children make them; one without children makes none.
        report: is told the number and the processor seconds of each batch.
    """

    def __init__(self, pool: Pool | Threads, report: Callable[[int, float], None]) -> None:
        self._pool = pool
        self._report = report
        self._lock = threading.Lock()
        self._stocks: OrderedDict[bytes, _Stock] = OrderedDict()
        self._busy = 0
        self._batches = 0

    def prefill(self, key: PublicKey, count: int) -> None:
        """Keep up to `count` obfuscators in stock from now on; 0 drops the key's stock."""
        with self._lock:
            stock = self._stocks.pop(key.fingerprint, None) or _Stock(key)
            if count:
                stock.wanted = count
                self._stocks[key.fingerprint] = stock
                if len(self._stocks) > _KEYS:
                    self._stocks.popitem(last=False)
        self._fill()

    def ready(self, key: PublicKey) -> int:
        """Return how many obfuscators are in stock."""
        with self._lock:
            stock = self._stocks.get(key.fingerprint)
            return len(stock.ready) // key.width if stock else 0

    def take(self, key: PublicKey, count: int) -> bytes:
        """Take up to `count` obfuscators out of the stock."""
        with self._lock:
            stock = self._stocks.get(key.fingerprint)
            if stock is None:
                return b""
            size = count * key.width
            taken = bytes(stock.ready[:size])
            del stock.ready[:size]
            return taken

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Start no batch within the `with` block."""
        with self._lock:
            self._busy += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1
            self._fill()

    def _fill(self) -> None:
        while (next_batch := self._next()) is not None:
            stock, count = next_batch
            try:
                future = self._pool.submit(tasks.obfuscators, stock.key, count)
            except CryptoError:
                # Nothing waits for it: the next operation, or the next call to prefill, tries again.
                self._settle(stock, count)
                return
            future.add_done_callback(partial(self._arrived, stock, count))

    def _next(self) -> tuple[_Stock, int] | None:
        with self._lock:
            if self._busy or self._batches >= self._pool.processes:
                return None
            for stock in self._stocks.values():
                missing = stock.wanted - stock.coming - len(stock.ready) // stock.key.width
                if missing > 0:
                    count = min(missing, _batch(stock.key))
                    stock.coming += count
                    self._batches += 1
                    return stock, count
            return None

    def _settle(self, stock: _Stock, count: int, made: bytes = b"") -> None:
        with self._lock:
            self._batches -= 1
            stock.coming -= count
            stock.ready += made

    def _arrived(self, stock: _Stock, count: int, done: Future[Any]) -> None:
        if done.cancelled() or done.exception():
            # The children die, or the engine closes: no new batch is started from here.
            self._settle(stock, count)
            return
        made, seconds = done.result()
        self._settle(stock, count, made)
        self._report(count, seconds)
        self._fill()


def _batch(key: PublicKey) -> int:
    """Obfuscators of about 50 ms: the time of one grows with the cube of the key's bits."""
    batch = MAX_BATCH * 2048**3 // key.bits**3
    if not key.short_exponents:
        batch //= 12
    return max(1, min(MAX_BATCH, batch))
