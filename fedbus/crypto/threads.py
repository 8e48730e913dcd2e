"""Threads serve the native arithmetic, which holds no lock while it computes:
they share the tables, and copy nothing.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any

from fedbus.crypto import tasks
from fedbus.crypto.tasks import Task
from fedbus.errors import CryptoError

# Does a task and says how many seconds of processor time it took.
Timed = Callable[..., tuple[Any, float]]


class Threads:
    """It runs functions in threads, as `pool.Pool` does in child processes, and is thread safe.

    Args:
        processes: how many threads at most; 0 runs everything in the calling thread.
    """

    # So many pieces the calling thread does itself: it would have nothing else to do.
    _left_to_caller = 1

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self._queue: queue.SimpleQueue[tuple[Future[Any], Task, tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting: set[Future[Any]] = set()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def run(self, task: Task, pieces: Sequence[tuple[Any, ...]]) -> tuple[list[Any], float]:
        """Do a task, which is a module-level function, on each piece, which is its arguments.

        Returns:
            The results in order, and the seconds of processor time of all.

        Raises:
            CryptoError: closed.
            Exception: what the task raised on the first piece that failed.
        """
        if not self.processes or len(pieces) <= self._left_to_caller:
            self._refuse_when_closed()
            outcomes = [tasks.timed(task, *piece) for piece in pieces]
        else:
            futures = [self.submit(task, *piece) for piece in pieces]
            outcomes = [future.result() for future in futures]
        return [result for result, _ in outcomes], sum(seconds for _, seconds in outcomes)

    def submit(self, task: Task, *arguments: Any) -> Future[tuple[Any, float]]:
        """Start one task; its future holds the result and the seconds of processor time.

        Raises:
            CryptoError: closed, or the system has no thread left.
        """
        future: Future[tuple[Any, float]] = Future()
        # It is answered always: nobody can cancel it.
        future.set_running_or_notify_cancel()
        with self._lock:
            self._refuse_when_closed()
            self._waiting.add(future)
            if len(self._threads) < min(self.processes, len(self._waiting)):
                self._start_thread(future)
        self._queue.put((future, task, arguments))
        return future

    def _start_thread(self, first: Future[Any]) -> None:
        # A daemon: one that is in a long multiplication must not keep the process alive.
        thread = threading.Thread(target=self._work, name=f"arithmetic-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            if not self._threads:
                self._waiting.discard(first)
                raise CryptoError(f"{error}: raise the limit of threads") from error
        else:
            self._threads.append(thread)

    def warm_up(self) -> None:
        """Do nothing, because a thread starts in no time."""

    def close(self) -> None:
        """End the threads. Whoever waits gets CryptoError at once; what is being computed is thrown away when it is
        done. A second call does nothing.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            waiting, self._waiting = self._waiting, set()
        for future in waiting:
            future.set_exception(CryptoError("the engine is closed"))
        for _ in self._threads:
            self._queue.put(None)

    def _worker(self) -> AbstractContextManager[Timed]:
        """What does the tasks of one thread, as long as it lives."""
        return contextlib.nullcontext(tasks.timed)

    def _work(self) -> None:
        with self._worker() as timed:
            while (item := self._queue.get()) is not None:
                self._do(timed, *item)
                # The next may be long in coming: keep nothing of this one.
                del item

    def _do(self, timed: Timed, future: Future[Any], task: Task, arguments: tuple[Any, ...]) -> None:
        if self._closed:
            return
        try:
            result = timed(task, *arguments)
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
