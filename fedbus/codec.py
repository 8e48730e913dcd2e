"""Envelopes to and from msgpack. What cannot be decoded is a DecodeError; nothing on the wire can run code.

Sizes are checked before anything is allocated; types are checked against the fields of the message's kind.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgpack
import msgspec
import numpy as np
from msgspec import Meta

from fedbus import msgpack_bounds
from fedbus.algorithms.registry import KINDS
from fedbus.chunks import CHUNK_BYTES
from fedbus.crypto.tensor import CipherTensor
from fedbus.errors import DecodeError
from fedbus.messages.envelope import VERSION, Envelope, Message
from fedbus.messages.fields import MAX_BATCH, MAX_CHUNKS, MAX_ROUND, Finite
from fedbus.messages.seal import GROUP, MANNERS, PLAIN, Content, Seals
from fedbus.names import JOB_ID, NAME

MAX_BODY_BYTES = 4 * CHUNK_BYTES
# What becomes part of a report, which has all parties' words in one message, and what errors in a report may repeat.
_SMALL = {"accepted": 16_384, "failed": 16_384, "finished": 16_384, "submit": 65_536, "start": 65_536,
          "list_jobs": 1024, "show_job": 1024}  # fmt: skip

_DTYPES = {"<f8", "<f4", "<i8", "<i4", "|u1", "|b1"}
_ARRAY, _TENSOR = 1, 2
# Of a sender's signed public key.
_MAX_KEY = 256
_MAX_DIMENSIONS = 4
# Of an array or cipher tensor: a list of scalars, and a list of dimensions in it.
_FLAT = {"values": 64, "containers": 2, "depth": 2}
_HEADER = ("version", "id", "job", "sender", "recipient", "kind", "round", "batch", "chunk", "chunks", "checkpoint",
           "sent_at")  # fmt: skip
# Of the header what is the same for all recipients of one message.
_COMMON = ("version", "job", "sender", "kind", "round", "batch", "chunk", "chunks")


def encode(envelope: Envelope, seals: Seals | None = None) -> bytes:
    """The envelope as one msgpack map; see `encode_all`."""
    return encode_all([envelope], seals)[0]


def encode_all(envelopes: Sequence[Envelope], seals: Seals | None = None) -> list[bytes]:
    """Envelopes with one payload for several recipients, each as one msgpack map; the payload is sealed once.

    Args:
        seals: of the sender; None leaves the payload readable.

    Raises:
        ValueError: a body is over MAX_BODY_BYTES: its sender should have cut it into chunks.
    """
    message = envelopes[0].payload
    payload = {f.name: getattr(message, f.name) for f in dataclasses.fields(message)}
    content = None
    if seals is not None:
        content = Content.seal(_common(envelopes[0]), pack(payload), group=len(envelopes) > 1)
    bodies = []
    for envelope in envelopes:
        if seals is None or content is None:
            body = pack({**header(envelope), "payload": payload})
        else:
            manner = seals.manner(envelope.kind, envelope.recipient) | (GROUP if len(envelopes) > 1 else 0)
            fields = header(envelope, manner, seals.certificate)
            slot = seals.seal_key(envelope.recipient, manner, content, pack(fields))
            body = pack({**fields, "payload": slot + content.sealed})
        if len(body) > MAX_BODY_BYTES:
            raise ValueError(f"a {envelope.kind} message of {len(body)} bytes is over the limit of {MAX_BODY_BYTES}")
        bodies.append(body)
    return bodies


def decode(body: bytes, seals: Seals | None = None, check: Callable[[Envelope], None] = lambda _: None) -> Envelope:
    """The envelope of a body received.

    Args:
        seals: of the recipient, or of the sender, who can read what it sent; without them a payload must not be sealed,
            with them it has to be.
        check: called with the envelope before its payload is opened, in whose place is its kind; may raise DecodeError.

    Raises:
        DecodeError: too large, not msgpack, of another version or kind, sealed for somebody else or changed on its way,
            or with fields that are not the kind's.
    """

    def finish(fields: dict[str, Any], unread: Envelope) -> Envelope:
        check(unread)
        return _opened(fields, unread, seals)

    return _read(body, finish)


def _read(body: bytes, finish: Callable[[dict[str, Any], Envelope], Envelope]) -> Envelope:
    if len(body) > MAX_BODY_BYTES:
        reason = f"message of {len(body)} bytes is over the limit of {MAX_BODY_BYTES}"
        raise DecodeError(reason, body[:1024], why="size")
    try:
        fields = unpack_received(body)
        return finish(fields, _unread(fields, len(body)))
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise DecodeError(f"malformed message: {error}", body) from error
    except DecodeError as error:
        error.raw = body
        raise


def _unread(fields: Any, size: int) -> Envelope:
    """The envelope before its payload is read: a kind is named as its messages are."""
    if not isinstance(fields, dict) or "version" not in fields:
        raise DecodeError("malformed message: no map with a version")
    # The version comes first: another version may have other fields.
    version = fields["version"]
    if type(version) is not int or version != VERSION:
        found = repr(str(version)[:20]) if isinstance(version, int | str) else "that is no number"
        raise DecodeError(f"message of unknown version {found}; this process reads {VERSION}", why="version")
    if set(fields) != {*_HEADER, "seal", "key", "payload"}:
        raise DecodeError(f"malformed message: its fields differ from version {VERSION}'s")
    name = fields["kind"]
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        reason = f"message of unknown kind {name[:40]!r}" if isinstance(name, str) else "message of no kind"
        raise DecodeError(reason, why="kind")
    place_of = msgspec.convert({k: v for k, v in fields.items() if k not in ("kind", "payload", "id")}, _Header)
    _check_places(place_of)
    place = {f: getattr(place_of, f) for f in place_of.__struct_fields__ if f not in ("seal", "key")}
    unread = Envelope(payload=kind, **place)  # type: ignore[arg-type]
    if unread.id != fields["id"]:
        raise DecodeError("malformed message: its id does not fit its fields")
    if size > most_bytes(name):
        error = DecodeError(f"{name} message of {size} bytes is over the limit of {most_bytes(name)}", why="size")
        error.about = unread
        raise error
    return unread


def _opened(fields: dict[str, Any], unread: Envelope, seals: Seals | None) -> Envelope:
    kind: type[Message] = unread.payload  # type: ignore[assignment]  # see `_unread`
    proven = ""
    try:
        payload = _unsealed(fields, unread, seals)
        proven = unread.sender if seals is not None else ""
        if isinstance(payload, bytes):
            payload = unpack_received(payload)
        return dataclasses.replace(unread, payload=_payload(payload, kind, unread.sender))
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        wrong = DecodeError(f"malformed {unread.kind} message of {unread.sender}: {error}")
        wrong.about, wrong.sealed_by = unread, proven
        raise wrong from error
    except DecodeError as error:
        error.about, error.sealed_by = unread, proven
        raise


def _unsealed(fields: dict[str, Any], unread: Envelope, seals: Seals | None) -> Any:
    manner, certificate, box = fields["seal"], fields["key"], fields["payload"]
    if seals is None and manner == PLAIN:
        return box
    if seals is None or manner == PLAIN or not isinstance(box, bytes):
        raise DecodeError(f"{unread.kind} message that is {'' if seals is None else 'not '}sealed", why="seal")
    associated = pack(header(unread, manner, certificate))
    return seals.open(unread, manner, certificate, _common(unread), associated, box)


def header(envelope: Envelope, manner: int = PLAIN, certificate: bytes = b"") -> dict[str, Any]:
    """What stays readable of a message, to which its seal is bound."""
    return {**{name: getattr(envelope, name) for name in _HEADER}, "seal": manner, "key": certificate}


def _common(envelope: Envelope) -> bytes:
    return pack([getattr(envelope, name) for name in _COMMON])


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
    seal: int
    key: Annotated[bytes, Meta(max_length=_MAX_KEY)]


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
    if envelope.seal not in MANNERS:
        raise DecodeError("malformed message: sealed in no manner that there is", why="seal")
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
