"""Messages go around queues that do not confirm. All of it runs on the I/O thread.

RabbitMQ handles what comes over a channel in order, and for a quorum queue without a leader it stops at the first
message, for 65 s: whatever follows on that channel, for any queue, waits behind it. So a lane (exchange and routing
key) whose message waits for too long is set aside: it gets a channel of its own, with one message at a time, until one
is taken; everything else goes over another channel.

Whether the queue is to blame or the broker is slow as a whole, a trial shows: a message of another lane over a new
channel. Where that is answered and the old one still is not, the new channel is the main one from then on. What was
behind on the old channel may arrive twice, as after a lost connection.

A connection stops reading where one of its channels has more than some 200 messages before it (RabbitMQ's credit
flow), which is why the window has fewer.
"""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import structlog
from pika.exceptions import ChannelClosedByBroker  # type: ignore[import-untyped]

from fedbus.broker.rabbitmq.intake import Lane, Pending
from fedbus.broker.rabbitmq.way import Answer, Way
from fedbus.broker.rabbitmq.window import Window
from fedbus.errors import AccessRefused, Nacked

log = structlog.get_logger(__name__)

# A sound queue confirms within milliseconds.
MUTE_SECONDS = 3.0
# With more than so many something else is wrong than a queue; each may hold a buffer's worth of messages.
MOST_ASIDE = 32


class Main(Protocol):
    """Something that publishes over the main channel."""

    def switch(self, way: Way) -> None:
        """Use this channel as the main one from now on, and publish again what is on the old one."""

    def conclude(self, done: list[Pending], answer: Answer) -> None:
        """Take note that the broker has answered for these messages."""

    def blame(self, pending: Pending, reason: ChannelClosedByBroker) -> None:
        """Take note that the broker closed a channel because of this message."""

    def refuse(self, pending: Pending, error: AccessRefused) -> None:
        """Take note that this message cannot be published."""

    def pump(self) -> None:
        """Publish as much as there is room for."""


@dataclass(slots=True, eq=False)
class _Trial:
    """A message of another lane than the oldest, over a channel of its own; `since` when it was published."""

    oldest: Pending
    pending: Pending
    since: float = math.inf
    way: Way = field(init=False)


@dataclass(slots=True, eq=False)
class _Detour:
    """The channel of a lane that is set aside, and what is published over it."""

    way: Way
    pending: Pending | None = None


class Detours:
    """It sets lanes aside whose messages are not confirmed, and serves these lanes.

    Args:
        user: whom messages are from.
    """

    def __init__(self, window: Window, user: str, main: Main) -> None:
        self._window = window
        self._user = user
        self._main = main
        self._trials: list[_Trial] = []
        self._detours: dict[Lane, _Detour] = {}

    def look(self, connection: Any, since: float) -> None:
        """Look for a message that has waited since before this time (monotonic),
        and begin a trial where there is one.
        """
        oldest = self._window.oldest
        if oldest is None or oldest.sent > since or (self._trials and self._trials[0].oldest is not oldest):
            self.end_trials()
            return
        if self._trials and self._trials[-1].since > since:
            return
        tried = {oldest.lane, *(trial.pending.lane for trial in self._trials)}
        other = self._window.other(tried)
        if other is not None and len(self._window.parked) + len(tried) <= MOST_ASIDE:
            trial = _Trial(oldest, other)
            trial.way = self._way(
                connection,
                partial(self._publish_trial, trial),
                partial(self._on_trial, trial),
                partial(self._on_trial_closed, trial),
            )
            self._trials.append(trial)

    def end_trials(self) -> None:
        """Give up trials, because the main channel has gone on or is another one."""
        for trial in self._trials:
            trial.way.leave()
        self._trials.clear()

    def serve(self, connection: Any) -> None:
        """Publish the next message of each lane that is set aside and has none on its way."""
        for lane, parked in list(self._window.parked.items()):
            if not parked:
                continue
            detour = self._detours.get(lane)
            if detour is None:
                way = self._way(
                    connection,
                    lambda _: self.serve(connection),
                    partial(self._on_answer, lane),
                    partial(self._on_closed, lane),
                )
                self._detours[lane] = _Detour(way)
            elif detour.way.is_open and detour.pending is None:
                self._publish(detour, parked)
                self._end_unused(lane)

    def down(self) -> None:
        """Take note that the connection was lost, or is about to end:
        all lanes are as others again, and no answers are heard.

        What was on its way is to be published first.
        """
        self.end_trials()
        for lane in list(self._window.parked):
            detour = self._detours.get(lane)
            if detour is not None:
                detour.way.leave()
            self._window.bring_back(lane, [] if detour is None or detour.pending is None else [detour.pending])
        self._detours.clear()

    def _way(self, connection: Any, opened: Any, answered: Any, closed: Any) -> Way:
        return Way(connection, self._user, opened=opened, answered=answered, closed=closed)

    def _publish(self, detour: _Detour, parked: deque[Pending]) -> None:
        """Publish the first message that can be."""
        while parked and detour.pending is None:
            pending = parked.popleft()
            try:
                detour.way.publish(pending)
            except AccessRefused as error:
                self._main.refuse(pending, error)
            else:
                detour.pending = pending

    def _publish_trial(self, trial: _Trial, way: Way) -> None:
        try:
            way.publish(trial.pending)
            trial.since = time.monotonic()
        except AccessRefused as error:
            self._trials.remove(trial)
            way.leave()
            # The next trial must be of another message.
            if self._window.take_out(trial.pending):
                self._main.refuse(trial.pending, error)

    def _on_trial(self, trial: _Trial, way: Way, answer: Answer) -> None:
        if trial.oldest is not self._window.oldest:
            self.end_trials()
            return
        stuck = time.monotonic() - MUTE_SECONDS
        self._trials.remove(trial)
        mute = [trial.oldest.lane, *(each.pending.lane for each in self._trials if each.since <= stuck)]
        self.end_trials()
        # What was settled over the main channel meanwhile is no reason, and would leave nothing to be answered.
        for lane in filter(self._window.holds, mute):
            log.warning("a queue does not confirm; its messages wait apart", exchange=lane[0], key=lane[1])
            self._window.set_aside(lane)
        mine = self._window.take_out(trial.pending)
        self._main.switch(way)
        if mine:
            self._main.conclude([trial.pending], answer)
        self._main.pump()

    def _on_trial_closed(self, trial: _Trial, _: Way, reason: ChannelClosedByBroker) -> None:
        self._trials.remove(trial)
        # The channel was closed over this message, which must not be the next trial again.
        if trial.since < math.inf and self._window.take_out(trial.pending):
            self._main.blame(trial.pending, reason)
        self._main.pump()

    def _on_answer(self, lane: Lane, way: Way, answer: Answer) -> None:
        detour = self._detours[lane]
        pending, detour.pending = detour.pending, None
        if pending is None:
            return
        if not isinstance(answer.error, Nacked):
            self._end(lane)
            way.leave()
        self._main.conclude([pending], answer)
        self._end_unused(lane)
        self._main.pump()

    def _on_closed(self, lane: Lane, _: Way, reason: ChannelClosedByBroker) -> None:
        pending = self._detours[lane].pending
        self._end(lane)
        if pending is not None:
            self._main.blame(pending, reason)
        self._main.pump()

    def _end(self, lane: Lane) -> None:
        del self._detours[lane]
        self._window.bring_back(lane)

    def _end_unused(self, lane: Lane) -> None:
        """No lane stays aside for messages that were given up: nothing would ever be answered on its channel."""
        if lane in self._detours and not self._window.holds(lane):
            self._detours[lane].way.leave()
            self._end(lane)
