"""Messages on their way to RabbitMQ: their order, how many there may be, and lanes that hold up no other."""

from __future__ import annotations

import math
from concurrent.futures import Future
from typing import Any

import pytest
from pika.exceptions import ChannelClosedByBroker  # type: ignore[import-untyped]

from fedbus.broker.base import Outgoing
from fedbus.broker.rabbitmq import detours
from fedbus.broker.rabbitmq.detours import Detours
from fedbus.broker.rabbitmq.intake import BUFFER, WINDOW, Intake, Lane, Pending
from fedbus.broker.rabbitmq.way import Answer, Way
from fedbus.broker.rabbitmq.window import Window
from fedbus.errors import AccessRefused, Congested, Nacked

MUTE: Lane = ("fedbus.data", "shop.bank.j")
OTHER: Lane = ("fedbus.data", "shop.mill.j")
SOUND: Lane = ("fedbus.data", "shop.coordinator.j")


class Line:
    """In place of a channel: it opens and answers when it is told to."""

    def __init__(self, _: Any, __: str, *, opened: Any, answered: Any, closed: Any) -> None:
        self.tag, self.is_open, self.was_left = 0, False, False
        self.opened, self.answered, self.closed = opened, answered, closed
        self.published: list[Pending] = []
        self.refused = b""
        LINES.append(self)

    def open(self) -> Line:
        self.is_open = True
        self.opened(self)
        return self

    def publish(self, pending: Pending) -> int:
        if pending.message.body == self.refused:
            raise AccessRefused("cannot be encoded")
        self.published.append(pending)
        self.tag += 1
        return self.tag

    def leave(self) -> None:
        self.was_left = True

    def answer(self, error: Nacked | None = None) -> None:
        self.answered(self, Answer(self.tag, error=error))


LINES: list[Line] = []


class Main:
    """What publishes over the main channel, in short."""

    def __init__(self) -> None:
        self.intake = Intake()
        self.window = Window(self.intake)
        self.detours = Detours(self.window, "shop", self)
        self.line: Any = Line(None, "", opened=lambda _: None, answered=None, closed=None).open()
        self.done: list[tuple[bytes, type[Exception] | None]] = []

    def put(self, lane: Lane, *bodies: bytes) -> None:
        for body in bodies:
            self.intake.put(Outgoing(*lane, body, body.decode()), wait=False, bounded=True)
        self.pump()

    def pump(self) -> None:
        self.window.put(self.intake.take())
        while (pending := self.window.next()) is not None:
            self.window.add(self.line.publish(pending), pending)
        self.detours.serve(None)

    def switch(self, way: Way) -> None:
        self.window.take_back()
        self.line = way
        self.window.begin(way.tag + 1)

    def conclude(self, done: list[Pending], answer: Answer) -> None:
        for pending in done:
            self.done.append((pending.message.body, answer.error and type(answer.error)))
        self.intake.release(done)

    def blame(self, pending: Pending, reason: ChannelClosedByBroker) -> None:
        self.done.append((pending.message.body, type(reason)))
        self.intake.release([pending])

    def refuse(self, pending: Pending, error: AccessRefused) -> None:
        self.conclude([pending], Answer(0, error=error))


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Main:
    monkeypatch.setattr(detours, "Way", Line)
    LINES.clear()
    return Main()


def bodies(line: Line) -> list[bytes]:
    return [pending.message.body for pending in line.published]


def test_a_lane_that_does_not_confirm_is_set_aside_once_another_is_answered(main: Main) -> None:
    main.put(MUTE, b"1", b"2", b"3")
    main.put(SOUND, b"a", b"b")
    main.detours.look(None, math.inf)
    trial = LINES[-1].open()
    assert bodies(trial) == [b"a"]
    trial.answer()
    # The trial's channel is the main one; what was behind the mute queue goes over it, the mute lane over its own.
    assert main.line is trial
    assert bodies(trial) == [b"a", b"b"]
    own = LINES[-1].open()
    assert bodies(own) == [b"1"]
    main.put(MUTE, b"4")
    assert bodies(own) == [b"1"]
    assert main.done == [(b"a", None)]
    # A refusal leaves it aside, an answer brings it back with all that is parked, in order.
    own.answer(Nacked("not now"))
    assert bodies(own) == [b"1", b"2"]
    own.answer()
    assert own.was_left
    assert bodies(trial) == [b"a", b"b", b"3", b"4"]
    assert main.done == [(b"a", None), (b"1", Nacked), (b"2", None)]


def test_a_broker_that_is_slow_as_a_whole_is_waited_for(main: Main) -> None:
    main.put(MUTE, b"1")
    main.put(SOUND, b"a")
    main.detours.look(None, math.inf)
    trial = LINES[-1].open()
    # The message that was first is answered first.
    (first,) = main.window.answered(1, multiple=False)
    main.conclude([first], Answer(1))
    trial.answer()
    assert trial.was_left
    assert main.line is not trial
    assert not main.window.parked


def test_nobody_is_held_up_where_all_is_of_one_lane(main: Main) -> None:
    main.put(MUTE, b"1", b"2")
    main.detours.look(None, math.inf)
    assert len(LINES) == 1


def test_a_trial_whose_channel_is_closed_is_not_begun_again(main: Main) -> None:
    main.put(MUTE, b"1")
    main.put(OTHER, b"x")
    main.put(SOUND, b"a")
    main.detours.look(None, math.inf)
    trial = LINES[-1].open()
    assert bodies(trial) == [b"x"]
    trial.closed(trial, ChannelClosedByBroker(403, "ACCESS_REFUSED"))
    assert main.done == [(b"x", ChannelClosedByBroker)]
    main.detours.look(None, math.inf)
    trial = LINES[-1].open()
    trial.answer()
    assert main.line is trial
    assert list(main.window.parked) == [MUTE]
    assert main.done[1:] == [(b"a", None)]


def test_a_trial_that_cannot_be_published_is_not_begun_again(main: Main) -> None:
    main.put(MUTE, b"1")
    main.put(OTHER, b"x")
    main.put(SOUND, b"a")
    main.detours.look(None, math.inf)
    LINES[-1].refused = b"x"
    LINES[-1].open()
    assert main.done == [(b"x", AccessRefused)]
    main.detours.look(None, math.inf)
    assert bodies(LINES[-1].open()) == [b"a"]


def test_a_lane_all_of_whose_messages_were_given_up_is_not_aside_any_more(main: Main) -> None:
    main.put(MUTE, b"1")
    main.put(SOUND, b"a")
    main.detours.look(None, math.inf)
    LINES[-1].open().answer()
    own = LINES[-1].open()
    assert bodies(own) == [b"1"]
    own.answer(Nacked("it has no leader"))
    assert own.was_left
    assert not main.window.parked


def test_what_cannot_be_published_over_a_lanes_own_channel_does_not_stop_it(main: Main) -> None:
    main.put(MUTE, b"1", b"2")
    main.put(SOUND, b"a")
    main.detours.look(None, math.inf)
    LINES[-1].open().answer()
    own = LINES[-1]
    own.refused = b"1"
    own.open()
    assert bodies(own) == [b"2"]
    own.answer()
    assert main.done == [(b"a", None), (b"1", AccessRefused), (b"2", None)]
    assert not main.window.parked


def test_a_lane_whose_trial_was_answered_over_the_main_channel_is_not_set_aside(
    main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    main.put(MUTE, b"1")
    main.put(OTHER, b"x")
    main.put(SOUND, b"a")
    monkeypatch.setattr(detours, "MUTE_SECONDS", -1.0)
    main.detours.look(None, math.inf)
    LINES[-1].open()
    main.detours.look(None, math.inf)
    trial = LINES[-1].open()
    assert bodies(trial) == [b"a"]
    main.conclude(main.window.answered(2, multiple=False), Answer(2))
    trial.answer()
    assert list(main.window.parked) == [MUTE]


def test_no_answer_is_heard_on_other_channels_once_the_connection_is_about_to_end(main: Main) -> None:
    main.put(MUTE, b"1")
    main.put(SOUND, b"a")
    main.detours.look(None, math.inf)
    LINES[-1].open().answer()
    own = LINES[-1].open()
    main.put(OTHER, b"x")
    main.put(SOUND, b"b")
    main.detours.look(None, math.inf)
    trial = LINES[-1].open()
    assert bodies(trial) == [b"b"]
    main.detours.down()
    assert own.was_left
    assert trial.was_left


def test_a_lost_connection_brings_all_back_in_order(main: Main) -> None:
    main.put(MUTE, b"1", b"2")
    main.put(SOUND, b"a")
    main.detours.look(None, math.inf)
    LINES[-1].open().answer()
    LINES[-1].open()
    main.put(MUTE, b"3")
    main.detours.down()
    assert [pending.message.body for pending in main.window.clear()] == [b"1", b"2", b"3"]


def test_what_is_aside_leaves_room_for_others() -> None:
    intake = Intake()

    def put(lane: Lane, count: int) -> list[Future[None]]:
        return [intake.put(Outgoing(*lane, b"", ""), wait=False, bounded=True) for _ in range(count)]

    put(MUTE, BUFFER)
    (full,) = put(SOUND, 1)
    assert isinstance(full.exception(0), Congested)
    intake.set_aside(MUTE)
    assert not any(future.done() for future in put(SOUND, BUFFER))
    (full,) = put(MUTE, 1)
    assert isinstance(full.exception(0), Congested)
    held = intake.take()
    intake.release([pending for pending in held if pending.lane == SOUND])
    intake.bring_back(MUTE)
    (full,) = put(SOUND, 1)
    assert isinstance(full.exception(0), Congested)
    assert intake.drain(0) == BUFFER


def test_what_is_refused_leaves_room_for_others() -> None:
    intake = Intake()

    def put(lane: Lane, count: int) -> list[Future[None]]:
        return [intake.put(Outgoing(*lane, b"", ""), wait=False, bounded=True) for _ in range(count)]

    put(MUTE, BUFFER)
    intake.refused(MUTE)
    (full,) = put(MUTE, 1)
    assert isinstance(full.exception(0), Congested)
    assert not any(future.done() for future in put(SOUND, BUFFER))
    # Those that are refused share one bound, however many they are.
    intake.refused(SOUND)
    intake.release([pending for pending in intake.take() if pending.lane == MUTE])
    (full,) = put(SOUND, 1)
    assert isinstance(full.exception(0), Congested)
    # One that holds nothing any more counts with all others again.
    assert not any(future.done() for future in put(MUTE, BUFFER))
    (full,) = put(OTHER, 1)
    assert isinstance(full.exception(0), Congested)


def test_the_window_is_shorter_than_what_rabbitmq_reads_ahead() -> None:
    assert WINDOW < 200
