"""Content headers and bodies are read here as the broker sends them,
so that nothing their publisher wrote ends a connection.

A publisher chooses every property of a message, and the broker hands them on as they are. Only those that fedbus uses
are read here. A table is passed over by its length, however deep others are nested in it.
Source: AMQP 0-9-1, sections 2.3.5.2 and 4.2.5; field types as RabbitMQ writes them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pika.exceptions import InvalidFrameError  # type: ignore[import-untyped]
from pika.frame import Body, Header, Heartbeat, decode_frame  # type: ignore[import-untyped]
from pika.spec import FRAME_BODY, FRAME_END, FRAME_HEADER  # type: ignore[import-untyped]

from fedbus.broker.base import KEPT_BYTES, MAX_MESSAGE_BYTES

MAX_TEXT_BYTES = 255

_FRAME = struct.Struct(">BHI")
# Class, weight, size of the body.
_CONTENT = struct.Struct(">HHQ")
_FLAGS = struct.Struct(">H")
_LENGTH = struct.Struct(">I")

_FIELD_BYTES = {
    **dict.fromkeys(b"tbB", 1),
    **dict.fromkeys(b"sUu", 2),
    **dict.fromkeys(b"Iif", 4),
    **dict.fromkeys(b"D", 5),
    **dict.fromkeys(b"LldT", 8),
    **dict.fromkeys(b"V", 0),
}
_FIELDS_WITH_LENGTH = b"SxAF"


class _Fields:
    """Bytes that are read from the front; EOFError where there are fewer than asked for."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    @property
    def ended(self) -> bool:
        return self._offset >= len(self._data)

    def take(self, size: int) -> bytes:
        start = self._offset
        if start + size > len(self._data):
            raise EOFError
        self._offset = start + size
        return self._data[start : start + size]

    def octet(self) -> bytes:
        return self.take(1)

    def timestamp(self) -> bytes:
        return self.take(8)

    def short(self) -> bytes:
        return self.take(self.take(1)[0])

    def long(self) -> bytes:
        return self.take(_LENGTH.unpack(self.take(4))[0])


# In the order of their flags, from the highest.
_PROPERTIES: tuple[tuple[str, Callable[[_Fields], bytes]], ...] = (
    ("content_type", _Fields.short),
    ("content_encoding", _Fields.short),
    ("headers", _Fields.long),
    ("delivery_mode", _Fields.octet),
    ("priority", _Fields.octet),
    ("correlation_id", _Fields.short),
    ("reply_to", _Fields.short),
    ("expiration", _Fields.short),
    ("message_id", _Fields.short),
    ("timestamp", _Fields.timestamp),
    ("type", _Fields.short),
    ("user_id", _Fields.short),
    ("app_id", _Fields.short),
    ("cluster_id", _Fields.short),
)


@dataclass(frozen=True)
class Properties:
    """The properties of a message that fedbus reads.

    Attributes:
        size: of the body as it was published; of one longer than MAX_MESSAGE_BYTES only the beginning is received.
        table: the headers as they came.
        fault: why the message cannot be processed; "" where it can.
    """

    size: int
    message_id: str = ""
    user_id: str | None = None
    correlation_id: str = ""
    table: bytes = b""
    fault: str = ""

    @cached_property
    def headers(self) -> dict[str, str]:
        """Those headers whose value is text.
        Others are passed over, and what follows one that cannot be read is left out.
        """
        found: dict[str, str] = {}
        fields = _Fields(self.table)
        try:
            while not fields.ended:
                key = fields.short()
                kind = fields.octet()
                value = fields.long() if kind in _FIELDS_WITH_LENGTH else fields.take(_FIELD_BYTES[kind[0]])
                if kind == b"S":
                    found[text(key)] = value.decode("utf-8", "backslashreplace")
        except (EOFError, KeyError):
            pass
        return found


def text(value: str | bytes) -> str:
    """Decode a short text of the wire, which pika leaves as bytes where it is not UTF-8.
    The result can always be sent again.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    return value.encode()[:MAX_TEXT_BYTES].decode("utf-8", "ignore")


def read_properties(size: int, data: bytes) -> Properties:
    """Read the properties of a message whose body has so many bytes. The data begin with the properties' flags."""
    fault = ""
    if size > MAX_MESSAGE_BYTES:
        fault = f"message of {size} bytes is over the limit of {MAX_MESSAGE_BYTES}"
    found: dict[str, bytes] = {}
    fields = _Fields(data)
    try:
        flags = _FLAGS.unpack(fields.take(_FLAGS.size))[0]
        for number, (name, read) in enumerate(_PROPERTIES):
            if flags & (1 << (15 - number)):
                found[name] = read(fields)
    except EOFError:
        fault = fault or "malformed message: its properties end early"
    user = found.get("user_id")
    return Properties(
        size,
        text(found.get("message_id", b"")),
        None if user is None else text(user),
        text(found.get("correlation_id", b"")),
        found.get("headers", b""),
        fault,
    )


class FrameReader:
    """It takes the frames of one connection from its buffer, as pika's `decode_frame` does.

    Of a body that is too long only the first KEPT_BYTES are handed on: a process could not hold as many of them as may
    be on their way at once.
    """

    def __init__(self) -> None:
        # By channel, of a body that is cut: bytes to hand on, and bytes that are still to come.
        self._cut: dict[int, tuple[int, int]] = {}

    def read(self, buffer: bytes) -> tuple[int, Any]:
        """Return how many bytes the first frame takes, and the frame; (0, None) where it has not arrived as a whole.

        Raises:
            InvalidFrameError: the broker itself does not keep to AMQP.
        """
        if len(buffer) < _FRAME.size:
            return 0, None
        kind, channel, size = _FRAME.unpack_from(buffer)
        if kind != FRAME_HEADER and not (kind == FRAME_BODY and channel in self._cut):
            consumed: tuple[int, Any] = decode_frame(buffer)
            return consumed
        end = _FRAME.size + size
        if len(buffer) <= end:
            return 0, None
        if buffer[end] != FRAME_END or (kind == FRAME_HEADER and size < _CONTENT.size):
            raise InvalidFrameError("a frame without its end, or too short")
        payload = buffer[_FRAME.size : end]
        return end + 1, self._header(channel, payload) if kind == FRAME_HEADER else self._body(channel, payload)

    def _header(self, channel: int, payload: bytes) -> Any:
        size = _CONTENT.unpack_from(payload)[2]
        self._cut.pop(channel, None)
        kept = size
        if size > MAX_MESSAGE_BYTES:
            kept = KEPT_BYTES
            self._cut[channel] = (kept, size)
        return Header(channel, kept, read_properties(size, payload[_CONTENT.size :]))

    def _body(self, channel: int, fragment: bytes) -> Any:
        kept, left = self._cut.pop(channel)
        if left > len(fragment):
            self._cut[channel] = (max(0, kept - len(fragment)), left - len(fragment))
        # What is not handed on has to be some frame: a sign of life, which it is.
        return Body(channel, fragment[:kept]) if kept else Heartbeat()
