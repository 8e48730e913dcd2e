"""Child processes: they are replaced when they die, and end with the pool or with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from fedbus import metrics
from fedbus.crypto.pool import Pool
from fedbus.errors import CryptoError

# A child says through a FIFO that it has begun, and then computes until it is ended.
BEGIN_AND_NEVER_END = "open({!r}, 'w').close()\nwhile True: pass"
DIE_ONCE = "import os, pathlib\nmark = pathlib.Path({!r})\nif not mark.exists():\n    mark.touch()\n    os._exit(9)"
PARENT = """
import threading
from fedbus.crypto.pool import Pool
pool = Pool(2)
pool.warm_up()
busy = threading.Thread(target=pool.run, args=(exec, [({task!r},)]), daemon=True)
busy.start()
threading.Event().wait()
"""
# A parent that is stopping ignores SIGTERM, and so does a child that has not yet begun to work.
UNCLOSED = """
import signal, time
from fedbus.crypto.pool import Pool
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pool = Pool(2)
    pool.submit(time.sleep, 1000)
    pool.submit(time.sleep, 1000)
    while len([child for child in pool._children if child.process]) < 2:
        time.sleep(0)
"""


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    pool = Pool(2)
    yield pool
    pool.close()


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "begun"
    os.mkfifo(path)
    return path


def wait_until_begun(fifo: Path) -> None:
    """Opening waits for the writer, whose end of file follows at once."""
    fifo.read_text()


def test_results_come_in_order_from_other_processes(pool: Pool) -> None:
    results, seconds = pool.run(divmod, [(number, 7) for number in range(20)])
    assert results == [divmod(number, 7) for number in range(20)]
    assert seconds >= 0
    pids, _ = pool.run(os.getpid, [()] * 4)
    assert os.getpid() not in pids


def test_without_processes_the_caller_computes() -> None:
    pool = Pool(0)
    assert pool.run(os.getpid, [(), ()])[0] == [os.getpid()] * 2
    pool.warm_up()
    pool.close()
    with pytest.raises(CryptoError, match="closed"):
        pool.run(os.getpid, [()])


def test_processor_seconds_are_those_of_the_child(pool: Pool) -> None:
    _, seconds = pool.run(sum, [(range(3_000_000),)])
    assert 0.005 < seconds < 10


def test_an_error_of_a_task_is_raised_and_the_children_live_on(pool: Pool) -> None:
    pool.warm_up()
    children = [child.process for child in pool._children]
    with pytest.raises(ZeroDivisionError) as raised:
        pool.run(divmod, [(1, 1), (1, 0)])
    assert "in a child process" in raised.value.__notes__[0]
    assert pool.run(divmod, [(7, 2)])[0] == [(3, 1)]
    assert [child.process for child in pool._children] == children


def test_a_runtime_error_of_a_task_is_not_taken_for_a_death(pool: Pool) -> None:
    with pytest.raises(RuntimeError, match="of the task"):
        pool.run(exec, [("raise RuntimeError('of the task')",)])


def test_the_terminals_interrupt_does_not_reach_the_children(pool: Pool) -> None:
    assert pool.run(signal.getsignal, [(signal.SIGINT,)] * 4)[0] == [signal.SIG_IGN] * 4


def test_an_operation_whose_child_dies_is_done_again(pool: Pool, tmp_path: Path) -> None:
    retries = metrics.retries.labels("arithmetic")
    before = retries._value.get()
    mark = tmp_path / "died"
    pieces = [(DIE_ONCE.format(str(mark)),), ("1",)]
    assert pool.run(exec, pieces)[0] == [None, None]
    assert mark.exists()
    assert retries._value.get() == before + 1


def test_a_child_that_dies_while_idle_is_replaced() -> None:
    # A pool of its own: the others may do the work before the death is noticed, which then counts against what comes.
    pool = Pool(2)
    (pid,), _ = pool.run(os.getpid, [()])
    os.kill(pid, signal.SIGKILL)
    assert pool.run(divmod, [(7, 2)] * 4)[0] == [(3, 1)] * 4
    pool.close()


def test_a_child_that_cannot_be_started_is_an_error_and_the_next_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(1)

    def start(_: object) -> None:
        raise OSError("too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(SpawnProcess, "start", start)
        with pytest.raises(OSError, match="too many"):
            pool.run(divmod, [(7, 2)])
    assert pool.run(divmod, [(7, 2)])[0] == [(3, 1)]
    pool.close()


def test_a_result_that_cannot_travel_is_an_error_and_the_child_lives_on(pool: Pool) -> None:
    with pytest.raises(TypeError, match="pickle"):
        pool.run(open, [(os.devnull,)])
    assert pool.run(divmod, [(7, 2)])[0] == [(3, 1)]


@pytest.mark.parametrize(
    ("code", "raised"),
    [
        ("raise SystemExit('of the task')", SystemExit),
        ("raise EOFError('of the task')", EOFError),
        ("class Local(Exception): pass\nraise Local('of the task')", CryptoError),
    ],
    ids=["exit", "end of file", "of a class that cannot travel"],
)
def test_whatever_a_task_raises_reaches_its_caller_and_the_child_lives_on(
    pool: Pool, code: str, raised: type[BaseException]
) -> None:
    pool.warm_up()
    children = [child.process for child in pool._children]
    with pytest.raises(raised, match="of the task"):
        pool.run(exec, [(code,)])
    assert [child.process for child in pool._children] == children


def test_an_answer_read_in_part_is_not_taken_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(1)
    pool.warm_up()
    (child,) = pool._children

    def read_in_part() -> bytes:
        assert child._pipe.poll(30)
        os.read(child._pipe.fileno(), 6)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(child._pipe, "recv_bytes", read_in_part)
        with pytest.raises(MemoryError):
            pool.run(divmod, [(9, 7)])
    assert pool.run(divmod, [(7, 2)])[0] == [(3, 1)]
    pool.close()


def test_an_interpreter_that_does_not_close_it_ends_all_the_same(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(UNCLOSED)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_threads_that_share_a_pool_all_survive_a_death(pool: Pool, tmp_path: Path) -> None:
    outcomes: list[object] = []
    mark = tmp_path / "died"

    def work(number: int) -> None:
        try:
            pool.run(exec, [(DIE_ONCE.format(str(mark)),)])
            outcomes.append(pool.run(divmod, [(number, 7)])[0][0])
        except CryptoError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [divmod(number, 7) for number in range(6)]  # type: ignore[type-var]


def test_an_operation_that_kills_every_child_fails(pool: Pool) -> None:
    with pytest.raises(CryptoError, match="died twice"):
        pool.run(os._exit, [(9,)])
    assert pool.run(divmod, [(7, 2)])[0] == [(3, 1)]


@pytest.mark.parametrize("waiting", [0, 3], ids=["one task", "tasks longer than a pipe behind it"])
def test_closing_ends_busy_children_and_their_callers(fifo: Path, waiting: int) -> None:
    pool, outcome = Pool(1), []

    def work() -> None:
        try:
            pool.run(exec, [(BEGIN_AND_NEVER_END.format(str(fifo)),), *[("pass #" + "x" * (1 << 20),)] * waiting])
        except CryptoError as error:
            outcome.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    wait_until_begun(fifo)
    (child,) = pool._children
    process = child.process
    assert process is not None
    assert process.is_alive()
    pool.close()
    thread.join()
    assert outcome == ["the engine is closed"]
    assert process.exitcode == -signal.SIGKILL
    pool.close()
    with pytest.raises(CryptoError, match="closed"):
        pool.submit(os.getpid)


def test_a_parent_that_is_killed_leaves_no_children(fifo: Path) -> None:
    task = BEGIN_AND_NEVER_END.format(str(fifo))
    # The children share the parent's standard output: its end is read when the last of them has gone.
    with subprocess.Popen([sys.executable, "-c", PARENT.format(task=task)], stdout=subprocess.PIPE) as parent:
        try:
            wait_until_begun(fifo)
            threads = Path(f"/proc/{parent.pid}/task").glob("*/children")
            children = [child for thread in threads for child in thread.read_text().split()]
            assert len(children) >= 2
        finally:
            parent.kill()
        output, _ = parent.communicate(timeout=20)
        assert output == b""
        assert parent.returncode == -signal.SIGKILL
