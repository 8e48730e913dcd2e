"""One thread owns both connections to RabbitMQ, and other threads hand work over to it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pika.adapters.select_connection import IOLoop  # type: ignore[import-untyped]

Call = Callable[[], None]


class IoThread:
    """It runs pika's event loop. Nothing else touches a connection or a channel.

    Args:
        name: of the thread.
        failed: called on the thread with an error that a call raised. The loop goes on once more, for what this call
            still has to do, until `stop`.
    """

    def __init__(self, name: str, failed: Callable[[Exception], None]) -> None:
        self.loop = IOLoop()
        self._failed = failed
        self._calls: deque[Call] = deque()
        self._awake = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_current(self) -> bool:
        """Whether the caller runs on this thread."""
        return threading.current_thread() is self._thread

    def start(self) -> None:
        """Begin. Calls that were posted before are made first."""
        self._thread.start()

    def post(self, call: Call) -> None:
        """Have a call made on the thread, after all that were posted before. Any thread may do this."""
        self._calls.append(call)
        # Waking the loop costs two system calls: one wake-up serves all calls that were posted before it is heard.
        # The flag is cleared before the calls are taken, so a call is never left without a wake-up behind it.
        if not self._awake:
            self._awake = True
            self.loop.add_callback_threadsafe(self._take)

    def later(self, seconds: float, call: Call) -> Any:
        """Have a call made after some time. It is called from the thread itself, and returns a handle for `forget`."""
        return self.loop.call_later(seconds, call)

    def forget(self, handle: Any) -> None:
        """Do not make a call that `later` announced."""
        self.loop.remove_timeout(handle)

    def stop(self) -> None:
        """End the loop. It is called from the thread itself."""
        self.loop.stop()

    def join(self, timeout: float) -> bool:
        """Wait for the thread's end, at most so many seconds; return whether it has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _take(self) -> None:
        self._awake = False
        calls = self._calls
        # What these calls post is left for the next turn, so that sockets are served in between.
        for _ in range(len(calls)):
            calls.popleft()()
        if calls and not self._awake:
            self._awake = True
            self.loop.add_callback_threadsafe(self._take)

    def _run(self) -> None:
        try:
            self.loop.start()
        except Exception as error:  # noqa: BLE001  # told to `failed`, which must hear of whatever it was
            self._failed(error)
            with suppress(Exception):
                self.loop.start()
        finally:
            self.loop.close()
