"""Participants that have been silent for a while are asked whether they still have the job.

Who waits for a message asks for it on the job's own queue, which nobody reads where the participant's store was deleted
or replaced: its process runs and knows of no such job. This question goes to the process itself, which says so at once.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from fedbus.job import JobSpec
from fedbus.session.session import Session

# Seconds of silence before the first question, between looks, and between questions at most.
FIRST_SECONDS = 10.0
_LOOK_SECONDS = 2.5
_LONGEST_SECONDS = 300.0


@contextlib.contextmanager
def roll_call(
    session: Session[JobSpec], peers: Sequence[str], ask: Callable[[Session[JobSpec], str], None]
) -> Iterator[None]:
    """Have `ask` called with whoever was not heard for a while, less often the longer it is silent."""
    done = threading.Event()
    caller = threading.Thread(target=_call, args=(session, peers, ask, done), name=f"roll call {session.job}")
    caller.start()
    try:
        yield
    finally:
        done.set()
        caller.join()


def _call(
    session: Session[JobSpec], peers: Sequence[str], ask: Callable[[Session[JobSpec], str], None], done: threading.Event
) -> None:
    since = time.monotonic()
    patience = dict.fromkeys(peers, FIRST_SECONDS)
    while not done.wait(min(_LOOK_SECONDS, FIRST_SECONDS)):
        for peer in peers:
            silence = session.attendance.silence(peer, since)
            if silence >= patience[peer]:
                ask(session, peer)
                patience[peer] = silence + min(patience[peer], _LONGEST_SECONDS)
            elif silence < FIRST_SECONDS:
                patience[peer] = FIRST_SECONDS
