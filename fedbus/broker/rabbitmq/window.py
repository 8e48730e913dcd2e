"""What is to be published and what is published and not confirmed yet, in order. All of it runs on the I/O thread."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Collection, Iterable

from fedbus.broker.rabbitmq.intake import WINDOW, WINDOW_BYTES, Intake, Lane, Pending


class Window:
    """Bounds how much is published over the main channel and not confirmed.

    Lanes that are set aside (see `amqp_detours`) are no part of it: their messages are parked here, in order.

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
        """What waits longest for its confirm."""
        return next(iter(self._sent.values()), None)

    def begin(self, tag: int) -> None:
        """Messages go over another channel; the next delivery tag is this one."""
        self._lowest = tag

    def put(self, messages: Iterable[Pending]) -> None:
        """Messages to be published, after those that are there."""
        self._ready.extend(messages)

    def next(self) -> Pending | None:
        """The next message that there is room for; whoever takes it publishes or settles it."""
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
        """A message of `next` was published."""
        pending.sent = time.monotonic()
        self._sent[tag] = pending
        self._bytes += len(pending.message.body)

    def answered(self, tag: int, *, multiple: bool) -> list[Pending]:
        """The broker has answered for a message, or for all up to it: those that were published are taken out."""
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
        """The first message that waits here and is of none of these lanes."""
        waiting = itertools.chain(self._sent.values(), self._ready)
        return next((each for each in waiting if each.lane not in lanes and each.lane not in self.parked), None)

    def take_out(self, pending: Pending) -> bool:
        """A message was published otherwise and answered for; False where it is not here any more."""
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
        """What is published will not be confirmed any more, and is the first to be published again; which that is."""
        blamed = list(self._sent.values())
        self._sent.clear()
        self._bytes = 0
        self._ready.extendleft(reversed(blamed))
        return blamed

    def suspect(self, messages: Iterable[Pending]) -> None:
        """Publish these one at a time, so that what is before the culprit is confirmed."""
        self._suspects.update(messages)

    def holds(self, lane: Lane) -> bool:
        """Whether a message of this lane is not settled yet, wherever it is."""
        return self._intake.holds(lane)

    def set_aside(self, lane: Lane) -> None:
        """Publish no more of this lane; what is ready is parked by `next`."""
        self.parked[lane] = deque()
        self._intake.set_aside(lane)

    def bring_back(self, lane: Lane, first: Iterable[Pending] = ()) -> None:
        """A lane is as all others again; `first` are messages of it that were on their way."""
        self._ready.extendleft(reversed([*first, *self.parked.pop(lane)]))
        self._intake.bring_back(lane)

    def clear(self) -> list[Pending]:
        """Forget all; what that was. No lane may be aside."""
        self.take_back()
        cleared = list(self._ready)
        self._ready.clear()
        self._suspects.clear()
        return cleared
