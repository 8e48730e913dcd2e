"""Child processes do arithmetic.
They are started when first needed, replaced when one dies, and gone when their parent is.

gmpy2 holds the interpreter's lock, so threads gain nothing, and a broker's I/O thread in the same process would starve.

Not `concurrent.futures`: before Python 3.12 its executor, when a child dies, changes its tables while other threads
fill them (no lock in `terminate_broken`), and a task that comes just then is never answered. Here each child has a
thread and a pipe of its own; nothing is shared, and only the task of the child that died is done again.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any

import structlog

from fedbus import metrics
from fedbus.crypto import tasks
from fedbus.crypto.tasks import Task
from fedbus.crypto.threads import Threads, Timed
from fedbus.errors import CryptoError

log = structlog.get_logger()

# Forking a process that has threads can deadlock the child, so children are spawned.
_context = multiprocessing.get_context("spawn")


class Pool(Threads):
    """It runs functions in child processes, and is thread safe. A task whose child dies twice ends in CryptoError.

    Args:
        processes: how many children at most; 0 runs everything in the calling thread.
    """

    _left_to_caller = 0

    def __init__(self, processes: int) -> None:
        super().__init__(processes)
        self._children: list[Child] = []
        # Where nobody closes it: multiprocessing ends children at exit, and those started in their place it waits for.
        atexit.register(self.close)

    def warm_up(self) -> None:
        """Start the children and wait until all run and have imported what they need."""
        # A thread is started for each call that waits, and none ends before its child has started.
        self.run(tasks.nothing, [()] * self.processes)

    def close(self) -> None:
        """End the children at once, whatever they do. A second call does nothing."""
        super().close()
        atexit.unregister(self.close)
        with self._lock:
            children, threads = [*self._children], [*self._threads]
        for child in children:
            child.close()
        for thread in threads:
            thread.join()

    @contextlib.contextmanager
    def _worker(self) -> Iterator[Timed]:
        child = Child()
        with self._lock:
            self._children.append(child)
            if self._closed:
                child.close()
        try:
            yield child.timed
        finally:
            child.bury()


class Child:
    """A process that does the tasks of one thread."""

    def __init__(self) -> None:
        self.process: SpawnProcess | None = None
        self._pipe: Connection
        self._lock = threading.Lock()
        self._closed = False

    def timed(self, task: Task, *arguments: Any) -> tuple[Any, float]:
        """Do a task and measure its processor time; see `tasks.timed`.

        Raises:
            CryptoError: closed, or the process died at the second attempt too.
            Exception: what the task raised.
        """
        message = ForkingPickler.dumps((task, arguments))
        for last in (False, True):
            self._start()
            try:
                self._pipe.send_bytes(message)
                answer = self._pipe.recv_bytes()
            except (EOFError, OSError):
                # The process was killed, by hand or for lack of memory; a task has no effect but its result.
                self.bury()
                if not last and not self._closed:
                    log.warning("a child process died; its operation is done again", operation=task.__name__)
                    metrics.retries.labels("arithmetic").inc()
                continue
            except BaseException:
                # For lack of memory, say: the rest of the answer must not be read as that of the next task.
                self.bury()
                raise
            done, outcome = ForkingPickler.loads(answer)
            if not done:
                raise outcome
            result, seconds = outcome
            return result, seconds
        raise CryptoError(
            "child processes died twice in one operation: is memory short? Or is it run by a script, which has to do so"
            ' below `if __name__ == "__main__":`, for child processes import it? See standard error too'
        )

    def close(self) -> None:
        """End the process at once, from any thread. Its own thread notices that and buries it.
        A second call does nothing.
        """
        with self._lock:
            self._closed = True
            if self.process is not None:
                self.process.kill()

    def bury(self) -> None:
        """End the process, wait for its end and close the pipe, which only the thread that reads it may do."""
        with self._lock:
            process, self.process = self.process, None
            if process is not None:
                process.kill()
                process.join()
                self._pipe.close()

    def _start(self) -> None:
        with self._lock:
            if self._closed:
                raise CryptoError("the engine is closed")
            if self.process is None:
                self.process, self._pipe = _spawn()


def _spawn() -> tuple[SpawnProcess, Connection]:
    pipe, other = _context.Pipe()
    # Only the process itself holds the other end then, so that its death is an end of file here.
    with contextlib.ExitStack() as failed, other:
        failed.callback(pipe.close)
        process = _context.Process(target=_serve, args=(other,), daemon=True)
        process.start()
        failed.pop_all()
    return process, pipe


def _serve(pipe: Connection) -> None:
    """Do tasks until the pool closes or its process ends."""
    # Ctrl-C is the parent's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A service that is stopping ignores SIGTERM, and a child would inherit that from it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # A parent that is killed with an answer unread resets the pipe.
    with contextlib.suppress(EOFError, ConnectionResetError, BrokenPipeError):
        while True:
            pipe.send_bytes(_answer(pipe.recv_bytes()))


def _answer(message: bytes) -> Any:
    """Whether the task was done, and its result or what it raised; pickled."""
    try:
        task, arguments = ForkingPickler.loads(message)
        return ForkingPickler.dumps((True, tasks.timed(task, *arguments)))
    except BaseException as error:  # noqa: BLE001  # it belongs to whoever waits for the result
        error.add_note("in a child process:\n" + "".join(traceback.format_tb(error.__traceback__)))
        try:
            return ForkingPickler.dumps((False, error))
        except Exception:  # noqa: BLE001  # as above
            return ForkingPickler.dumps((False, CryptoError("".join(traceback.format_exception(error)))))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101  # this runs in children only
    wait([parent.sentinel])
    # Not sys.exit: the main thread may be in a multiplication.
    os._exit(0)
