"""How a client follows a job: it hears of events, and asks where it hears of nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from fedbus import topology
from fedbus.job import is_final
from fedbus.messages.control import Event, Notice, StateChanged
from fedbus.messages.envelope import Envelope
from fedbus.submissions import Submissions

# A coordinator is asked when nothing was heard for so long, later more seldom; after twice that its silence is told.
_ASK_AGAIN_SECONDS = 7.0
_SELDOM_SECONDS = 120.0


def follow(
    query: Envelope,
    submissions: Submissions,
    send: Callable[[str, Envelope], object],
    next_event: Callable[[], Event | None],
    timeout: float | None,
    check: Callable[[], object] | None,
) -> Iterator[Event]:
    """A job's events, from its present state to its end; see `Client.watch`.

    Args:
        query: asks the coordinator for the job's state, and has done so once.
        submissions: of this client; a job among them that the coordinator does not know is submitted again.
        send: sends a request under a routing key and does not wait.
        next_event: waits for an event for a while; None where none came.
        timeout: seconds without any event before TimeoutError; None waits for ever.
        check: called now and then while there is none; what it raises ends the watch.
    """
    job = query.job
    state: StateChanged | None = None
    heard = asked = answered = time.monotonic()
    interval, silent = _ASK_AGAIN_SECONDS, False
    while True:
        event = next_event()
        now = time.monotonic()
        if event is not None:
            answered, interval = now, _ASK_AGAIN_SECONDS
            if silent:
                silent = False
                yield Notice("the coordinator answers again")
        elif not silent and now - answered >= 2 * _ASK_AGAIN_SECONDS:
            silent = True
            yield Notice(
                f"no word from the coordinator for {now - answered:.0f} s; is fedbus-coordinator running? "
                "What it was asked waits in its queue until it is back"
            )
        if event is None:
            if timeout is not None and now - heard >= timeout:
                raise TimeoutError(f"no event of job {job} for {timeout:g} s")
            if check is not None:
                check()
            if now - max(asked, answered) >= interval:
                # An event may have been lost with the connection, or with a coordinator that died.
                asked, interval = now, min(2 * interval, _SELDOM_SECONDS)
                send(topology.QUERY, query)
        elif submissions.may_come(job, event):
            if (submission := submissions.again(job)) is not None:
                heard = now
                send(topology.SUBMIT, submission)
                yield Notice("the coordinator has not received the job, although the broker had; submitted again")
        # The answer to a query repeats a state that may have been an event already.
        elif event != state:
            heard = now
            yield event
            if isinstance(event, StateChanged):
                state = event
                if is_final(event.state):
                    return
