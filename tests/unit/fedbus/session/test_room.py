"""Messages that wait for room on the disk: in their order, and none of them for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from fedbus.errors import StoreError
from fedbus.session.room import Holding

WAIT = 10.0


class Message:
    """A delivery that remembers how it was settled."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.settled: list[str] = []
        self.done = threading.Event()

    def settle(self, how: str) -> None:
        self.settled.append(how)
        self.done.set()

    def ack(self) -> None:
        self.settle("acknowledged")

    def requeue(self) -> None:
        self.settle("given back")


def holding(handle: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> Holding:
    monkeypatch.setattr("fedbus.session.room.delay", lambda _: 0.01)
    return Holding(handle, lambda _: None)


def test_what_cannot_be_entered_waits_and_keeps_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    failures, handled = iter(range(3)), []

    def handle(message: Message) -> None:
        if next(failures, None) is not None:
            raise StoreError("the disk is full")
        handled.append(message.name)
        message.ack()

    messages = [Message(name) for name in "abc"]
    held = holding(handle, monkeypatch)
    for message in messages:
        held.take(message)  # type: ignore[arg-type]
    assert all(message.done.wait(WAIT) for message in messages)
    assert handled == ["a", "b", "c"]
    held.close()


@pytest.mark.parametrize("first", ["at once", "after waiting"])
def test_one_that_cannot_be_handled_holds_up_no_other(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter(range(1 if first == "after waiting" else 0))

    def handle(message: Message) -> None:
        if next(failures, None) is not None:
            raise StoreError("the disk is full")
        if message.name == "a":
            raise RuntimeError("can't start new thread")
        message.ack()

    messages = [Message(name) for name in "abc"]
    held = holding(handle, monkeypatch)
    for message in messages:
        held.take(message)  # type: ignore[arg-type]
    assert all(message.done.wait(WAIT) for message in messages)
    assert [message.settled for message in messages] == [["given back"], ["acknowledged"], ["acknowledged"]]
    held.close()
