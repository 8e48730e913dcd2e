"""The window keeps, in order, what is to be published and what is published but not confirmed.
All of it runs on the I/O thread.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Collection, Iterable

from fedbus.broker.rabbitmq.intake import WINDOW, WINDOW_BYTES, Intake, Lane, Pending


class Window:
    """It bounds how much is published over the main channel and not confirmed.

    Lanes that are set aside (see `detours.py`) are no part of it: their messages are parked here, in order.

    Args:
        intake: bounds what is parked, for each lane on its own.

    Attributes:
        parked: the messages of lanes that are set aside.
    """

    def __init__(self, intake: Intake) -> None:
        self.parked: dict[Lane, deque[Pending]] = {}
        self._intake = intake
        self._ready: deque[Pending] = deque()
        self._sent: dict[int, Pending] = {}
        self._bytes = 0
        # Published one at a time: the connection or channel ends over one of them.
        self._suspects: set[Pending] = set()
        self._lowest = 1

    @property
    def oldest(self) -> Pending | None:
        """The message that has waited longest for its confirm."""
        return next(iter(self._sent.values()), None)

    def begin(self, tag: int) -> None:
        """Take note that messages go over another channel, and that this is the next delivery tag."""
        self._lowest = tag

    def put(self, messages: Iterable[Pending]) -> None:
        """Append messages that are to be published."""
        self._ready.extend(messages)

    def next(self) -> Pending | None:
        """Return the next message that there is room for. Whoever takes it publishes or settles it."""
        while self._ready:
            pending = self._ready[0]
            if (parked := self.parked.get(pending.lane)) is not None:
                parked.append(self._ready.popleft())
                self._suspects.discard(pending)
            elif self._has_room(len(pending.message.body)):
                return self._ready.popleft()
            else:
                break
        return None

    def _has_room(self, size: int) -> bool:
        if not self._sent:
            return True
        return not self._suspects and len(self._sent) < WINDOW and self._bytes + size <= WINDOW_BYTES

    def add(self, tag: int, pending: Pending) -> None:
        """Take note that a message of `next` was published."""
        pending.sent = time.monotonic()
        self._sent[tag] = pending
        self._bytes += len(pending.message.body)

    def answered(self, tag: int, *, multiple: bool) -> list[Pending]:
        """Take out the messages for which the broker has answered: one, or all up to it."""
        if multiple:
            tags = range(self._lowest, tag + 1)
            self._lowest = tag + 1
        else:
            tags = range(tag, tag + 1)
            if tag == self._lowest:
                self._lowest += 1
        popped = [pending for each in tags if (pending := self._sent.pop(each, None)) is not None]
        self._bytes -= sum(len(pending.message.body) for pending in popped)
        self._suspects.difference_update(popped)
        return popped

    def other(self, lanes: Collection[Lane]) -> Pending | None:
        """Return the first message that waits here and is of none of these lanes."""
        waiting = itertools.chain(self._sent.values(), self._ready)
        return next((each for each in waiting if each.lane not in lanes and each.lane not in self.parked), None)

    def take_out(self, pending: Pending) -> bool:
        """Take out a message that was published otherwise and answered for.
        Return False where it is not here any more.
        """
        self._suspects.discard(pending)
        for tag, each in self._sent.items():
            if each is pending:
                del self._sent[tag]
                self._bytes -= len(pending.message.body)
                return True
        if pending in self._ready:
            self._ready.remove(pending)
            return True
        return False

    def take_back(self) -> list[Pending]:
        """Have what is published, and will not be confirmed any more, published first again. Return these messages."""
        blamed = list(self._sent.values())
        self._sent.clear()
        self._bytes = 0
        self._ready.extendleft(reversed(blamed))
        return blamed

    def suspect(self, messages: Iterable[Pending]) -> None:
        """Publish these messages one at a time, so that those before the culprit are confirmed."""
        self._suspects.update(messages)

    def holds(self, lane: Lane) -> bool:
        """Return whether a message of this lane is not settled yet, wherever it is."""
        return self._intake.holds(lane)

    def set_aside(self, lane: Lane) -> None:
        """Publish no more of this lane; `next` parks what is ready."""
        self.parked[lane] = deque()
        self._intake.set_aside(lane)

    def bring_back(self, lane: Lane, first: Iterable[Pending] = ()) -> None:
        """Treat a lane as all others again; `first` are messages of it that were on their way."""
        self._ready.extendleft(reversed([*first, *self.parked.pop(lane)]))
        self._intake.bring_back(lane)

    def clear(self) -> list[Pending]:
        """Forget all messages, and return them. No lane may be set aside."""
        self.take_back()
        cleared = list(self._ready)
        self._ready.clear()
        self._suspects.clear()
        return cleared
