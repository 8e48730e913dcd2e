"""What a publisher can send who does not keep to the library: raw properties, and messages longer than agreed."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import pika
from pika.exceptions import AMQPError

from fedbus.broker.base import Outgoing

FLAGS = {
    name: 1 << (15 - number)
    for number, name in enumerate(
        ("content_type", "content_encoding", "headers", "delivery_mode", "priority", "correlation_id", "reply_to",
         "expiration", "message_id", "timestamp", "type", "user_id", "app_id", "cluster_id")
    )
}  # fmt: skip


def short(value: bytes) -> bytes:
    """A short text."""
    return bytes([len(value)]) + value


def long(value: bytes) -> bytes:
    """What is preceded by its length: a long text, the inside of a table or an array."""
    return struct.pack(">I", len(value)) + value


def field(kind: bytes, value: bytes, key: bytes = b"k") -> bytes:
    """An entry of a table."""
    return short(key) + kind + value


def nested(kind: bytes, depth: int) -> bytes:
    """The value of a table (F) or an array (A) that holds another, and so on."""
    value = long(b"")
    for _ in range(depth):
        value = long((short(b"k") if kind == b"F" else b"") + kind + value)
    return value


def properties(**values: bytes) -> bytes:
    """The properties of these names, each as it is encoded, behind their flags."""
    flags = sum(FLAGS[name] for name in values)
    return struct.pack(">H", flags) + b"".join(values[name] for name in FLAGS if name in values)


# Each field type of AMQP and RabbitMQ with values at the edges of what it can be.
FIELDS: Mapping[str, tuple[bytes, bytes]] = {
    "bool": (b"t", b"\x02"),
    "byte": (b"b", b"\x80"),
    "octet": (b"B", b"\xff"),
    "short": (b"s", b"\x80\x00"),
    "ushort": (b"u", b"\xff\xff"),
    "int": (b"I", b"\x80\x00\x00\x00"),
    "uint": (b"i", b"\xff\xff\xff\xff"),
    "long": (b"l", b"\x80" + bytes(7)),
    "float": (b"f", struct.pack(">f", float("nan"))),
    "infinity": (b"f", struct.pack(">f", float("inf"))),
    "double": (b"d", struct.pack(">d", float("inf"))),
    "not a number": (b"d", struct.pack(">d", float("nan"))),
    "decimal": (b"D", b"\xff\x7f\xff\xff\xff"),
    "text": (b"S", long(b"plain")),
    "no utf-8": (b"S", long(b"\xff\xfe")),
    "bytes": (b"x", long(b"\x00\xff")),
    "array": (b"A", long(b"I\x00\x00\x00\x01" * 3)),
    "array of nothing": (b"A", long(b"")),
    "timestamp": (b"T", struct.pack(">Q", 2**62)),
    "table": (b"F", long(field(b"T", struct.pack(">Q", 2**62)))),
    "nothing": (b"V", b""),
    "nested tables": (b"F", nested(b"F", 3000)),
    "nested arrays": (b"A", nested(b"A", 3000)),
}


class _Raw(pika.BasicProperties):  # type: ignore[misc]
    def __init__(self, encoded: bytes) -> None:
        super().__init__()
        self._encoded = encoded

    def encode(self) -> list[bytes]:
        return [self._encoded]


class RawPublisher:
    """A publisher of raw properties, which connects again when the broker has enough of it."""

    def __init__(self, url: str) -> None:
        self._url = pika.URLParameters(url)
        self._connection: pika.BlockingConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None and self._connection.is_open:
            self._connection.close()

    def publish(self, message: Outgoing, encoded: bytes) -> bool:
        """Publish with these properties; whether the broker took it."""
        try:
            if self._connection is None or not self._connection.is_open:
                self._connection = pika.BlockingConnection(self._url)
                self._channel = self._connection.channel()
                self._channel.confirm_delivery()
            self._channel.basic_publish(message.exchange, message.routing_key, message.body, _Raw(encoded))
        except AMQPError:
            if self._connection is not None and self._connection.is_open:
                # Only the channel was closed, over what it may not do.
                self._connection.close()
            self._connection = None
            return False
        return True
