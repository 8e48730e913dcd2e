"""Threads that compute: results in order, errors of the first piece, and closing that keeps nobody waiting."""

from __future__ import annotations

import threading
import time

import pytest

from fedbus.crypto.threads import Threads
from fedbus.errors import CryptoError


def double(value: int) -> int:
    return 2 * value


def fail(value: int) -> None:
    raise ValueError(f"piece {value}")


def name_of_thread(_: int) -> str:
    return threading.current_thread().name


@pytest.mark.parametrize("processes", [0, 1, 3])
def test_results_are_in_order(processes: int) -> None:
    threads = Threads(processes)
    results, seconds = threads.run(double, [(value,) for value in range(50)])
    assert results == [2 * value for value in range(50)]
    assert 0 <= seconds < 1
    threads.close()


def test_pieces_run_in_threads_and_a_single_one_in_the_callers() -> None:
    threads = Threads(2)
    names, _ = threads.run(name_of_thread, [(value,) for value in range(20)])
    assert {*names} <= {"arithmetic-0", "arithmetic-1"}
    assert threads.run(name_of_thread, [(0,)])[0] == [threading.current_thread().name]
    threads.close()


def test_the_first_piece_that_fails_gives_the_error() -> None:
    threads = Threads(2)
    with pytest.raises(ValueError, match="piece 3"):
        threads.run(fail, [(3,), (4,)])
    assert threads.run(double, [(1,), (2,)])[0] == [2, 4]
    threads.close()


def test_pieces_run_at_the_same_time() -> None:
    threads, barrier = Threads(2), threading.Barrier(2)
    threads.run(lambda: barrier.wait(10), [(), ()])
    threads.close()


def test_closing_keeps_nobody_waiting_and_throws_late_results_away() -> None:
    threads, begun, go_on = Threads(1), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(10)

    running, queued = threads.submit(work), threads.submit(work)
    assert begun.wait(10)
    threads.close()
    threads.close()
    for future in (running, queued):
        with pytest.raises(CryptoError, match="the engine is closed"):
            future.result(0)
    go_on.set()
    deadline = time.monotonic() + 10
    while any(thread.name == "arithmetic-0" for thread in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert isinstance(running.exception(), CryptoError)


@pytest.mark.parametrize("processes", [0, 2])
def test_closed_threads_refuse_work(processes: int) -> None:
    threads = Threads(processes)
    threads.close()
    with pytest.raises(CryptoError, match="the engine is closed"):
        threads.run(double, [(1,), (2,)])
    with pytest.raises(CryptoError, match="the engine is closed"):
        threads.submit(double, 1)
