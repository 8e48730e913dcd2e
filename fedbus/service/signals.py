"""Signals end a process wherever its main thread waits."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Collection
from types import FrameType

# A terminal that is closed says so by SIGHUP, and the one at the keyboard would have pressed Ctrl-C instead.
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Does nothing to a process that does not ask for it.
_WAKE = signal.SIGURG


def wake_main_thread() -> None:
    """Let signals that end a process interrupt the main thread, which calls this, whichever thread receives them.

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


def end_on_signals(*, heed: Collection[signal.Signals] = (signal.SIGTERM,)) -> None:
    """Let the signals of ENDING raise KeyboardInterrupt in the main thread, which calls this.

    Of a terminal that is closed the kernel and the shell both tell, so that SIGHUP does nothing a second time.

    Args:
        heed: those that are heeded even where the process was started to ignore them, as `nohup` has it ignore SIGHUP,
            and a shell's `&` SIGINT.
    """

    def end(number: int, _: FrameType | None) -> None:
        if number == signal.SIGHUP:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in ENDING:
        if number in heed or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)


def ignore_all() -> None:
    """Let the signals of ENDING do nothing any more: the process, whose main thread calls this, is ending already."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def _listen(heard: socket.socket, _: socket.socket, main: int) -> None:
    """Wait for signals. It holds on to both ends of the pair, to which the interpreter may write."""
    while numbers := heard.recv(64):
        if any(number in numbers for number in ENDING):
            # The main thread may have ended meanwhile, and the process with it.
            with contextlib.suppress(ProcessLookupError):
                signal.pthread_kill(main, _WAKE)


def _nothing(_: int, __: FrameType | None) -> None:
    pass
