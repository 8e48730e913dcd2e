"""SIGTERM and SIGINT end a process whichever of its threads the kernel hands them to."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import signal, sys, threading
from fedbus.service import signals

def stop(number, frame):
    raise KeyboardInterrupt

signal.signal(signal.{name}, stop)
signals.wake_main_thread()
lock = threading.Lock()
lock.acquire()
waiting = threading.Event()

def receive():
    waiting.wait()
    # This thread receives it and no other: that alone does not interrupt the main thread's wait.
    signal.pthread_kill(threading.get_ident(), signal.{name})

threading.Thread(target=receive, daemon=True).start()
try:
    waiting.set()
    lock.acquire()
except KeyboardInterrupt:
    sys.exit(42)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_that_another_thread_received_ends_the_wait_of_the_main_thread(name: str) -> None:
    command = [sys.executable, "-c", _PROGRAM.format(name=name)]
    assert subprocess.run(command, timeout=60, check=False).returncode == 42
