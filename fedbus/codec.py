"""Envelopes to and from msgpack. What cannot be decoded is a DecodeError; nothing on the wire can run code.

Sizes are checked before anything is allocated; types are checked against the fields of the message's kind.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import msgpack
import msgspec
import numpy as np

from fedbus import msgpack_bounds
from fedbus.algorithms.registry import KINDS
from fedbus.chunks import CHUNK_BYTES
from fedbus.crypto.tensor import CipherTensor
from fedbus.errors import DecodeError
from fedbus.messages.envelope import VERSION, Envelope, Message
from fedbus.messages.fields import MAX_BATCH, MAX_CHUNKS, MAX_ROUND, Finite
from fedbus.names import JOB_ID, NAME

MAX_BODY_BYTES = 4 * CHUNK_BYTES
# What becomes part of a report, which has all parties' words in one message, and what errors in a report may repeat.
_SMALL = {"accepted": 16_384, "failed": 16_384, "finished": 16_384, "submit": 65_536, "start": 65_536,
          "list_jobs": 1024, "show_job": 1024}  # fmt: skip

_DTYPES = {"<f8", "<f4", "<i8", "<i4", "|u1", "|b1"}
_ARRAY, _TENSOR = 1, 2
_MAX_DIMENSIONS = 4
# Of an array or cipher tensor: a list of scalars, and a list of dimensions in it.
_FLAT = {"values": 64, "containers": 2, "depth": 2}
_HEADER = ("version", "id", "job", "sender", "recipient", "kind", "round", "batch", "chunk", "chunks", "checkpoint",
           "sent_at", "payload")  # fmt: skip


def encode(envelope: Envelope) -> bytes:
    """The envelope as one msgpack map.

    Raises:
        ValueError: the body is over MAX_BODY_BYTES: its sender should have cut it into chunks.
    """
    payload = {f.name: getattr(envelope.payload, f.name) for f in dataclasses.fields(envelope.payload)}
    fields = {name: getattr(envelope, name) for name in _HEADER[:-1]}
    body = pack({**fields, "payload": payload})
    if len(body) > MAX_BODY_BYTES:
        raise ValueError(f"a {envelope.kind} message of {len(body)} bytes is over the limit of {MAX_BODY_BYTES}")
    return body


def decode(body: bytes) -> Envelope:
    """The envelope of a body received.

    Raises:
        DecodeError: too large, not msgpack, of another version or kind, or with fields that are not the kind's.
    """
    if len(body) > MAX_BODY_BYTES:
        raise DecodeError(f"message of {len(body)} bytes is over the limit of {MAX_BODY_BYTES}", body[:1024])
    try:
        return _envelope(unpack_received(body), len(body))
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise DecodeError(f"malformed message: {error}", body) from error
    except DecodeError as error:
        error.raw = body
        raise


def _envelope(fields: Any, size: int) -> Envelope:
    if not isinstance(fields, dict) or "version" not in fields:
        raise DecodeError("malformed message: no map with a version")
    # The version comes first: another version may have other fields.
    version = fields["version"]
    if type(version) is not int or version != VERSION:
        found = repr(str(version)[:20]) if isinstance(version, int | str) else "that is no number"
        raise DecodeError(f"message of unknown version {found}; this process reads {VERSION}")
    if set(fields) != set(_HEADER):
        raise DecodeError(f"malformed message: its fields differ from version {VERSION}'s")
    name = fields["kind"]
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise DecodeError(f"message of unknown kind {name[:40]!r}" if isinstance(name, str) else "message of no kind")
    header = msgspec.convert({k: v for k, v in fields.items() if k not in ("kind", "payload", "id")}, _Header)
    _check_places(header)
    place = {f: getattr(header, f) for f in header.__struct_fields__}
    # A kind is named as its messages are: this is the envelope before its payload is read.
    unread = Envelope(payload=kind, **place)  # type: ignore[arg-type]
    if unread.id != fields["id"]:
        raise DecodeError("malformed message: its id does not fit its fields")
    try:
        if size > most_bytes(name):
            raise DecodeError(f"{name} message of {size} bytes is over the limit of {most_bytes(name)}")  # noqa: TRY301
        return Envelope(payload=_payload(fields["payload"], kind, header.sender), **place)
    except DecodeError as error:
        error.about = unread
        raise


def most_bytes(kind: str) -> int:
    """How long a message of a kind may be."""
    return _SMALL.get(kind, MAX_BODY_BYTES)


class _Header(msgspec.Struct, frozen=True):
    version: int
    job: str
    sender: str
    recipient: str
    round: int
    batch: int
    chunk: int
    chunks: int
    checkpoint: int
    sent_at: Finite


def _payload(fields: Any, kind: type[Message], sender: str) -> Message:
    types = {f.name: str(f.type) for f in dataclasses.fields(kind)}
    if not isinstance(fields, dict) or not set(fields) <= set(types):
        raise DecodeError(f"malformed message: its payload has fields that {kind.kind} does not have")
    try:
        for name, value in fields.items():
            # msgspec would take one for a map or a list.
            if isinstance(value, np.ndarray) and "ndarray" not in types[name]:
                raise TypeError(f"{name}: an array where none is due")  # noqa: TRY301  # as any other wrong type
        # Bytes are bytes: text would be taken for base64 otherwise.
        payload = msgspec.convert(fields, kind, dec_hook=_hook, builtin_types=(bytes,))
        payload.check()
    except (ValueError, TypeError, OverflowError) as error:
        reason, _, place = str(error).partition(" - at ")
        field = place.strip("`").removeprefix("$.").replace("key` in `$.", "a key of ")
        what = f"{field}: {reason}" if field else reason
        raise DecodeError(f"malformed {kind.kind} message of {sender}: {what}") from error
    return payload


def _hook(expected: type, value: Any) -> Any:
    if isinstance(value, expected):
        return value
    raise ValueError(f"expected {expected.__name__}")


def _check_places(envelope: _Header) -> None:
    if not JOB_ID.fullmatch(envelope.job):
        raise DecodeError("malformed message: no valid job id")
    if not NAME.fullmatch(envelope.sender) or not NAME.fullmatch(envelope.recipient):
        raise DecodeError("malformed message: no valid sender or recipient")
    if not 0 <= envelope.chunk < envelope.chunks <= MAX_CHUNKS:
        raise DecodeError("malformed message: chunk is not within chunks")
    if envelope.round < 0 or envelope.batch < 0 or envelope.checkpoint < -1:
        raise DecodeError("malformed message: negative round, batch or checkpoint")
    if max(envelope.round, envelope.checkpoint) > MAX_ROUND or envelope.batch > MAX_BATCH:
        raise DecodeError("malformed message: round, batch or checkpoint is too large")


def pack(value: Any) -> bytes:
    """A value of maps, lists, numbers, text, bytes, arrays and cipher tensors as msgpack."""
    packed: bytes = msgpack.packb(value, default=_pack_extension, use_bin_type=True)
    return packed


def unpack(body: bytes) -> Any:
    """The value of a msgpack body of one's own making; no element may be longer than the body itself.

    Raises:
        ValueError, msgpack.UnpackException: not msgpack, or an extension that is not ours.
    """
    size = len(body)
    return msgpack.unpackb(
        body,
        ext_hook=_unpack_extension,
        raw=False,
        strict_map_key=True,
        max_str_len=size,
        max_bin_len=size,
        max_array_len=size,
        max_map_len=size,
        max_ext_len=size,
    )


def unpack_received(body: bytes) -> Any:
    """Unpack a body that somebody else made; how many values it holds is checked before they are made."""
    msgpack_bounds.check(body)
    return unpack(body)


def _pack_extension(value: Any) -> msgpack.ExtType:
    if isinstance(value, CipherTensor):
        fields: list[Any] = [value.fingerprint, value.scale, value.width, value.blob]
        return msgpack.ExtType(_TENSOR, msgpack.packb(fields, use_bin_type=True))
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)
        if array.dtype.str not in _DTYPES:
            raise TypeError(f"arrays of {array.dtype} are not sent")
        return msgpack.ExtType(_ARRAY, msgpack.packb([array.dtype.str, list(array.shape), array.tobytes()]))
    if isinstance(value, np.generic):
        return value.item()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} is not sent")


def _unpack_extension(code: int, data: bytes) -> Any:
    if code not in (_ARRAY, _TENSOR):
        raise ValueError(f"unknown extension {code}")
    size = len(data)
    msgpack_bounds.check(data, **_FLAT)
    fields = msgpack.unpackb(data, max_bin_len=size, max_str_len=size, max_array_len=8, max_map_len=0, max_ext_len=0)
    if code == _TENSOR and isinstance(fields, list) and len(fields) == 4:
        fingerprint, scale, width, blob = fields
        blobs = isinstance(fingerprint, bytes) and isinstance(blob, bytes)
        if not (blobs and type(scale) is int and type(width) is int and 0 <= scale <= 4096):
            raise ValueError("malformed cipher tensor")
        return CipherTensor(fingerprint, scale, width, blob)
    if code == _ARRAY and isinstance(fields, list) and len(fields) == 3:
        dtype, shape, data = fields
        sized = isinstance(shape, list) and len(shape) <= _MAX_DIMENSIONS
        if not sized or not all(type(side) is int and 0 <= side < 2**31 for side in shape):
            raise ValueError("array of a shape that is not sent")
        if not isinstance(dtype, str) or dtype not in _DTYPES or not isinstance(data, bytes):
            raise ValueError("array of a type that is not sent")
        if math.prod(shape) * np.dtype(dtype).itemsize != len(data):
            raise ValueError("array whose shape does not fit its bytes")
        return np.frombuffer(data, dtype=dtype).reshape(shape)
    raise ValueError("malformed array or cipher tensor")
