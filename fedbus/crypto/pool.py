"""Child processes for arithmetic: started when first needed, replaced when one dies, gone when their parent is.

gmpy2 holds the interpreter's lock, so threads gain nothing, and a broker's I/O thread in the same process would starve.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection, wait
from typing import Any

import structlog

from fedbus import metrics
from fedbus.crypto import tasks
from fedbus.crypto.tasks import Task
from fedbus.errors import CryptoError

log = structlog.get_logger()


class Pool:
    """Runs functions in child processes; thread safe.

    Args:
        processes: how many children; 0 runs everything in the calling thread.
    """

    def __init__(self, processes: int) -> None:
        self.processes = processes
        # Forking a process that has threads can deadlock the child, so children are spawned.
        self._context = multiprocessing.get_context("spawn")
        # Children see the end of this pipe when the engine closes; killed parents close it too.
        self._alive, self._alive_writer = self._context.Pipe(duplex=False)
        self._lock = threading.Lock()
        self._executor: ProcessPoolExecutor | None = None
        self._closed = False

    def run(self, task: Task, pieces: Sequence[tuple[Any, ...]]) -> tuple[list[Any], float]:
        """Do a task, which is a module-level function, on each piece, which is its arguments.

        Returns:
            The results in order, and the seconds of processor time of all.

        Raises:
            CryptoError: the pool is closed, or children died at the second attempt too.
            Exception: what the task raised on the first piece that failed.
        """
        if not self.processes:
            self._refuse_when_closed()
            outcomes = [tasks.timed(task, *piece) for piece in pieces]
        else:
            outcomes = self._run_in_children(task, pieces)
        return [result for result, _ in outcomes], sum(seconds for _, seconds in outcomes)

    def submit(self, task: Task, *arguments: Any) -> Future[tuple[Any, float]]:
        """Start one task in a child; its future holds the result and the seconds of processor time.

        Raises:
            CryptoError: the pool is closed.
            BrokenProcessPool: a child has died; the next call starts new ones.
        """
        return self._submit(self._children(), task, *arguments)

    def warm_up(self) -> None:
        """Start the children and wait until all run and have imported what they need."""
        # A child is started for each call while none is idle, and none is before it has started.
        self.run(tasks.nothing, [()] * self.processes)

    def close(self) -> None:
        """End the children at once, whatever they do. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            executor, self._executor = self._executor, None
            self._alive_writer.close()
        if executor:
            _end_feeding(executor)
            executor.shutdown(cancel_futures=True)
        self._alive.close()

    def _run_in_children(self, task: Task, pieces: Sequence[tuple[Any, ...]]) -> list[tuple[Any, float]]:
        for last in (False, True):
            executor = self._children()
            try:
                futures = [self._submit(executor, task, *piece) for piece in pieces]
                return [future.result() for future in futures]
            except (BrokenProcessPool, CancelledError):
                # A child was killed, by hand or for lack of memory; a task has no effect but its result.
                self._discard(executor)
                self._refuse_when_closed()
                if not last:
                    log.warning("a child process died; its operation is done again", operation=task.__name__)
                    metrics.retries.labels("arithmetic").inc()
        raise CryptoError("processes that compute died twice in one operation; is memory short?")

    def _submit(self, executor: ProcessPoolExecutor, task: Task, *arguments: Any) -> Future[tuple[Any, float]]:
        try:
            return executor.submit(tasks.timed, task, *arguments)
        except (RuntimeError, OSError, ValueError) as error:
            # It is broken, or was shut down meanwhile: by `close`, or by a thread that found it broken. A child that
            # was being started just then finds its pipes closed, which is an OSError or a ValueError.
            self._refuse_when_closed()
            if not isinstance(error, RuntimeError) and not executor._broken:
                raise
            self._discard(executor)
            raise BrokenProcessPool("a process that computes died") from error

    def _children(self) -> ProcessPoolExecutor:
        with self._lock:
            self._refuse_when_closed()
            if self._executor is None:
                self._executor = ProcessPoolExecutor(self.processes, self._context, _live, (self._alive,))
            return self._executor

    def _discard(self, executor: ProcessPoolExecutor) -> None:
        with self._lock:
            if self._executor is executor:
                self._executor = None
                _end_feeding(executor)
        executor.shutdown(wait=False)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise CryptoError("the engine is closed")


def _end_feeding(executor: ProcessPoolExecutor) -> None:
    """Let the thread that writes tasks to children notice that nobody reads them any more. Once for each executor.

    Before 3.11.5 Python leaves its own reading end open; a task longer than the pipe then blocks that thread for ever,
    and with it the shutdown and the end of the process (python/cpython#94777).
    """
    queue = executor._call_queue  # type: ignore[attr-defined]
    if queue is not None and sys.version_info < (3, 11, 5):
        queue._reader.close()


def _live(alive: Connection) -> None:
    """Set a child up: Ctrl-C is its parent's business, and it ends with the pool or with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A service that is stopping ignores SIGTERM, and a child would inherit that from it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101  # this runs in children only

    def end() -> None:
        wait([parent.sentinel, alive])
        # Not sys.exit: the main thread may be in a multiplication, or hold a lock of the queue.
        os._exit(0)

    threading.Thread(target=end, daemon=True).start()
