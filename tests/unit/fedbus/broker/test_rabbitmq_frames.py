"""Frames are read whatever a publisher wrote into them, and as pika reads them where pika can."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import pika
import pytest
from hostile import FIELDS, field, long, nested, properties, short
from hypothesis import given
from hypothesis import strategies as st
from pika.exceptions import InvalidFrameError
from pika.frame import Body, Header, Heartbeat, Method
from pika.spec import Basic

from fedbus.broker.base import KEPT_BYTES, MAX_MESSAGE_BYTES
from fedbus.broker.rabbitmq.frames import MAX_TEXT_BYTES, FrameReader, Properties, read_properties, text


def frame(payload: bytes, kind: int = 2, channel: int = 1) -> bytes:
    """One frame of AMQP."""
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def header(size: int, encoded: bytes = b"\x00\x00", channel: int = 1) -> bytes:
    """The frame of a content header."""
    return frame(struct.pack(">HHQ", 60, 0, size) + encoded, channel=channel)


def read_all(reader: FrameReader, data: bytes) -> list[Any]:
    """All frames in some bytes."""
    frames = []
    while data:
        consumed, found = reader.read(data)
        assert consumed
        frames.append(found)
        data = data[consumed:]
    return frames


def bodies(frames: Sequence[Any], channel: int = 1) -> bytes:
    """What is handed on of bodies."""
    return b"".join(f.fragment for f in frames if isinstance(f, Body) and f.channel_number == channel)


def test_properties_are_read_as_pika_wrote_them() -> None:
    written = pika.BasicProperties(
        content_type="application/msgpack",
        delivery_mode=2,
        priority=3,
        message_id="m-1",
        user_id="bob",
        correlation_id="17",
        timestamp=5,
        headers={"a": "é", "n": 5, "t": {"x": [1, {"y": None}]}, "b": b"\x00", "z": "last", "yes": True},
        app_id="x",
    )
    (found,) = read_all(FrameReader(), Header(3, 10, written).marshal())
    assert (found.channel_number, found.body_size) == (3, 10)
    read = found.properties
    assert (read.message_id, read.user_id, read.correlation_id, read.fault) == ("m-1", "bob", "17", "")
    assert read.headers == {"a": "é", "z": "last"}
    assert read.size == 10


@pytest.mark.parametrize("name", FIELDS)
def test_a_header_of_any_type_is_passed_over(name: str) -> None:
    table = field(*FIELDS[name]) + field(b"S", long(b"v"), b"after")
    read = read_properties(1, properties(headers=long(table), message_id=short(b"m")))
    assert (read.fault, read.message_id, read.headers["after"]) == ("", "m", "v")


@pytest.mark.parametrize(
    "last",
    [
        field(b"?", b"xx"),
        field(b"S", b"\xff\xff\xff\xffabc"),
        field(b"T", b"123"),
        b"\xff",
        b"\x01k",
        field(b"A", nested(b"A", 9)[:-3]),
    ],
)
def test_what_cannot_be_read_of_the_headers_is_left_out(last: bytes) -> None:
    encoded = properties(headers=long(field(b"S", long(b"v"), b"first") + last), message_id=short(b"m"))
    read = read_properties(1, encoded)
    assert (read.fault, read.message_id, read.headers) == ("", "m", {"first": "v"})


@pytest.mark.parametrize(
    "encoded", [b"", b"\x80", b"\x80\x00", b"\x80\x00\x05abc", b"\x20\x00\xff\xff\xff\xff", b"\x00\x40\x00"]
)
def test_properties_that_end_early_are_a_fault(encoded: bytes) -> None:
    (found,) = read_all(FrameReader(), header(4, encoded))
    assert "end early" in found.properties.fault
    assert found.body_size == 4


@given(st.binary(max_size=300), st.integers(0, MAX_MESSAGE_BYTES))
def test_no_properties_raise(encoded: bytes, size: int) -> None:
    (found,) = read_all(FrameReader(), header(size, encoded))
    assert isinstance(found.properties, Properties)
    assert all(isinstance(part, str) for pair in found.properties.headers.items() for part in pair)
    assert len(found.properties.message_id.encode()) <= MAX_TEXT_BYTES


@given(st.data())
def test_no_change_of_sound_properties_raises(data: st.DataObject) -> None:
    table = b"".join(field(*each) for name, each in FIELDS.items() if not name.startswith("nested"))
    encoded = bytearray(properties(headers=long(table), message_id=short(b"m"), timestamp=b"\xff" * 8))
    for position in data.draw(st.lists(st.integers(0, len(encoded) - 1), max_size=6)):
        encoded[position] ^= 1 << data.draw(st.integers(0, 7))
    (found,) = read_all(FrameReader(), header(3, bytes(encoded[: data.draw(st.integers(0, len(encoded)))])))
    assert isinstance(found.properties.headers, dict)


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_a_text_can_always_be_sent_again(value: bytes | str) -> None:
    if isinstance(value, str):
        value = value.encode("utf-8", "ignore").decode()
    again = text(value)
    assert len(again.encode()) <= MAX_TEXT_BYTES
    assert text(again) == again


def test_a_frame_that_has_not_come_whole_is_waited_for() -> None:
    whole, reader = header(4, properties(message_id=short(b"m"))), FrameReader()
    assert all(reader.read(whole[:length]) == (0, None) for length in range(len(whole)))
    assert reader.read(whole + b"rest")[0] == len(whole)


def test_a_broker_that_does_not_keep_to_amqp_is_an_error() -> None:
    for wrong in (header(1)[:-1] + b"\x00", frame(b"\x00" * 11)):
        with pytest.raises(InvalidFrameError):
            FrameReader().read(wrong)


def test_of_a_body_that_is_too_long_the_beginning_is_handed_on() -> None:
    size, part = MAX_MESSAGE_BYTES + 1, 50_000
    body = bytes(number % 251 for number in range(part)) * (size // part + 1)
    fragments = [frame(body[start : min(start + part, size)], kind=3) for start in range(0, size, part)]
    deliver = Method(1, Basic.Deliver("c", 7, False, "x", "k")).marshal()
    other = header(3, channel=2) + frame(b"abc", kind=3, channel=2)
    following = deliver + header(5) + frame(b"after", kind=3)
    stream = deliver + header(size) + fragments[0] + other + b"".join(fragments[1:]) + following
    frames = read_all(FrameReader(), stream)
    first = next(f for f in frames if isinstance(f, Header))
    assert (first.body_size, first.properties.size) == (KEPT_BYTES, size)
    assert f"{size} bytes is over the limit" in first.properties.fault
    assert bodies(frames) == body[:KEPT_BYTES] + b"after"
    assert bodies(frames, channel=2) == b"abc"
    assert sum(isinstance(f, Heartbeat) for f in frames) == len(fragments) - 2


def test_a_body_of_the_greatest_length_is_handed_on_whole() -> None:
    body = bytes(range(256)) * (MAX_MESSAGE_BYTES // 256)
    frames = read_all(FrameReader(), header(len(body)) + frame(body, kind=3))
    assert bodies(frames) == body
    assert frames[0].properties.fault == ""
