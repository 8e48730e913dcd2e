"""Signals end a process wherever its main thread waits."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGINT)
# Does nothing to a process that does not ask for it.
_WAKE = signal.SIGURG


def wake_main_thread() -> None:
    """Let SIGTERM and SIGINT interrupt the main thread, whichever thread receives them; called in the main thread.

    Python's handlers run in the main thread only, but the kernel may hand a signal to any thread, and a main thread
    that waits for a lock then goes on waiting: its process would never hear of the signal. So a thread of its own
    hears of each signal, and sends the main thread one that only interrupts it.
    """
    heard, written = socket.socketpair()
    written.setblocking(False)
    # Not SIG_IGN, which interrupts nothing.
    signal.signal(_WAKE, _nothing)
    signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
    main = threading.main_thread().ident
    assert main is not None  # noqa: S101  # it runs this
    threading.Thread(target=_listen, args=(heard, written, main), name="signals", daemon=True).start()


def end_on_sigterm() -> None:
    """Let SIGTERM end a command as Ctrl-C does, with all that it started; from the main thread."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _listen(heard: socket.socket, _: socket.socket, main: int) -> None:
    """Holds on to both ends of the pair, which must not be closed while the interpreter writes to one."""
    while numbers := heard.recv(64):
        if any(number in numbers for number in _ENDING):
            # The main thread may have ended meanwhile, and the process with it.
            with contextlib.suppress(ProcessLookupError):
                signal.pthread_kill(main, _WAKE)


def _nothing(_: int, __: FrameType | None) -> None:
    pass
