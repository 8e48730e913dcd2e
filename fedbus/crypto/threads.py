"""Threads for the native arithmetic, which holds no lock while it computes: they share the tables, and copy nothing."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from fedbus.crypto import tasks
from fedbus.crypto.tasks import Task
from fedbus.errors import CryptoError


class Threads:
    """Runs functions in threads, as `pool.Pool` does in child processes.

    Args:
        processes: how many threads; 0 runs everything in the calling thread.
    """

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self._queue: queue.SimpleQueue[tuple[Future[Any], Task, tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting: set[Future[Any]] = set()
        self._started = self._closed = False

    def run(self, task: Task, pieces: Sequence[tuple[Any, ...]]) -> tuple[list[Any], float]:
        """As `Pool.run`; a single piece runs in the calling thread, which would have nothing else to do.

        Raises:
            CryptoError: the threads are closed.
            Exception: what the task raised on the first piece that failed.
        """
        if not self.processes or len(pieces) == 1:
            self._refuse_when_closed()
            outcomes = [tasks.timed(task, *piece) for piece in pieces]
        else:
            futures = [self.submit(task, *piece) for piece in pieces]
            outcomes = [future.result() for future in futures]
        return [result for result, _ in outcomes], sum(seconds for _, seconds in outcomes)

    def submit(self, task: Task, *arguments: Any) -> Future[tuple[Any, float]]:
        """As `Pool.submit`."""
        future: Future[tuple[Any, float]] = Future()
        with self._lock:
            self._refuse_when_closed()
            self._waiting.add(future)
            if not self._started:
                self._started = True
                for number in range(self.processes):
                    # A daemon: one that is in a long multiplication must not keep the process alive.
                    threading.Thread(target=self._work, name=f"arithmetic-{number}", daemon=True).start()
        self._queue.put((future, task, arguments))
        return future

    def warm_up(self) -> None:
        """Nothing: a thread starts in no time."""

    def close(self) -> None:
        """Whoever waits gets CryptoError at once; what is being computed is thrown away when it is done. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            waiting, self._waiting = self._waiting, set()
        for future in waiting:
            future.set_exception(CryptoError("the engine is closed"))
        for _ in range(self.processes):
            self._queue.put(None)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            self._do(*item)
            # The next may be long in coming: keep nothing of this one.
            del item

    def _do(self, future: Future[Any], task: Task, arguments: tuple[Any, ...]) -> None:
        if self._closed:
            return
        try:
            result = tasks.timed(task, *arguments)
        except BaseException as error:  # noqa: BLE001  # it belongs to whoever waits for the result
            if self._settle(future):
                future.set_exception(error)
        else:
            if self._settle(future):
                future.set_result(result)

    def _settle(self, future: Future[Any]) -> bool:
        """Whether the future is still to be answered, now by the caller alone."""
        with self._lock:
            if future not in self._waiting:
                return False
            self._waiting.remove(future)
            return True

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise CryptoError("the engine is closed")
