"""Envelopes survive the wire; what is no envelope is a DecodeError and nothing else."""

from __future__ import annotations

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbus import codec
from fedbus.algorithms.vertical.messages import Forward, Verdict
from fedbus.crypto.tensor import CipherTensor
from fedbus.errors import DecodeError
from fedbus.messages.control import Failed, Finished, Progress, StateChanged, Submit
from fedbus.messages.envelope import Envelope, Message

TENSOR = CipherTensor(b"k" * 16, 40, 4, b"abcdefgh")


def envelope(**changes: object) -> Envelope:
    fields: dict[str, object] = {"job": "j-1", "sender": "bank", "recipient": "shop", "payload": Forward(TENSOR)}
    return Envelope(**{**fields, **changes})  # type: ignore[arg-type]


def tampered(**changes: object) -> bytes:
    """The body of a sound message with some header fields replaced or, where None, removed."""
    fields = msgpack.unpackb(codec.encode(envelope()), raw=False, ext_hook=msgpack.ExtType)
    fields.update(changes)
    return bytes(msgpack.packb({key: value for key, value in fields.items() if value is not None}))


@pytest.mark.parametrize(
    "payload",
    [Forward(TENSOR), Verdict(0.5, stop=True, converged=False), StateChanged("failed", "why", {"loss": [1.0, 0.5]})],
)
def test_a_message_comes_back_as_it_was(payload: object) -> None:
    sent = envelope(payload=payload, round=3, batch=2, chunk=1, chunks=4, checkpoint=2)
    assert codec.decode(codec.encode(sent)) == sent


def test_the_id_tells_places_apart_and_nothing_else() -> None:
    places = [envelope(), envelope(round=1), envelope(batch=1), envelope(chunk=1, chunks=2), envelope(recipient="c")]
    assert len({place.id for place in places}) == len(places)
    other_content = Forward(CipherTensor(b"k" * 16, 40, 4, b"12345678"))
    assert envelope(payload=other_content, sent_at=1.0).id == envelope().id


def test_the_id_is_not_fooled_by_moving_characters_between_fields() -> None:
    assert envelope(sender="ba", recipient="nk").id != envelope(sender="b", recipient="ank").id


def test_a_tensor_is_one_blob_with_one_scale() -> None:
    body = codec.encode(envelope())
    assert body.count(TENSOR.blob) == 1
    assert len(body) < len(TENSOR.blob) + 300


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": 99}, "unknown version '99'"),
        ({"version": None}, "no map with a version"),
        ({"kind": "gossip"}, "unknown kind 'gossip'"),
        ({"payload": {"scores": 5}}, "payload has fields that forward does not have"),
        ({"kind": "verdict"}, "id does not fit"),
        ({"payload": {}}, "malformed forward message of bank: .*missing required field `tensor`"),
        ({"payload": {"tensor": 5}}, "malformed forward message of bank: tensor: Expected `object`, got `int`"),
        ({"chunk": 1}, "chunk is not within chunks"),
        ({"chunks": 10**9}, "chunk is not within chunks"),
        ({"round": -1}, "negative round"),
        ({"round": "1"}, "malformed message"),
        ({"round": 2**31}, "round, batch or checkpoint is too large"),
        ({"batch": 4096}, "round, batch or checkpoint is too large"),
        ({"checkpoint": 2**31}, "round, batch or checkpoint is too large"),
        ({"checkpoint": 2**63}, "round, batch or checkpoint is too large"),
        ({"checkpoint": 2**64 - 1}, "round, batch or checkpoint is too large"),
        ({"sender": "Bank!"}, "sender"),
        ({"job": "../etc"}, "job id"),
        ({"sender": "mint"}, "id does not fit"),
        ({"extra": 1}, "fields differ"),
    ],
)
def test_a_changed_message_is_refused_with_the_reason(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        codec.decode(tampered(**changes))


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x81", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x05"])
def test_bytes_that_are_no_message_are_refused(body: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        codec.decode(body)
    assert caught.value.raw == body


@given(st.binary(max_size=200))
def test_random_bytes_never_raise_anything_else(body: bytes) -> None:
    with pytest.raises(DecodeError):
        codec.decode(body)


@given(st.data())
def test_a_flipped_bit_is_refused_or_changes_only_what_the_id_does_not_cover(data: st.DataObject) -> None:
    body = bytearray(codec.encode(envelope()))
    position = data.draw(st.integers(0, len(body) - 1))
    body[position] ^= 1 << data.draw(st.integers(0, 7))
    try:
        decoded = codec.decode(bytes(body))
    except DecodeError:
        return
    assert decoded.id == envelope().id


def test_an_oversized_message_is_refused_before_it_is_read() -> None:
    with pytest.raises(DecodeError, match="over the limit") as caught:
        codec.decode(b"\x00" * (codec.MAX_BODY_BYTES + 1))
    assert len(caught.value.raw) <= 1024


@pytest.mark.parametrize(
    "payload", [Failed("x" * 20_000), Finished({"train": "x" * 20_000}), Submit({"x": "x" * 70_000}, bytes(64))]
)
def test_what_a_report_repeats_is_small(payload: Message) -> None:
    body = codec.encode(envelope(payload=payload))
    with pytest.raises(DecodeError, match=f"{payload.kind} message of .* over the limit of"):
        codec.decode(body)


def test_an_oversized_message_is_not_sent() -> None:
    tensor = CipherTensor(b"k" * 16, 0, 512, bytes(512 * 10_000))
    with pytest.raises(ValueError, match="over the limit"):
        codec.encode(envelope(payload=Forward(tensor)))


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3), np.array([], dtype=np.int64), np.float64([1.5])])
def test_arrays_survive(array: np.ndarray) -> None:
    back = codec.unpack(codec.pack({"a": array}))["a"]
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([object()]), np.array([1 + 2j])])
def test_arrays_of_other_types_are_not_sent(array: np.ndarray) -> None:
    with pytest.raises(TypeError):
        codec.pack(array)


@pytest.mark.parametrize(
    "fields", [["|O", [1], b"12345678"], ["<f8", [2], b"12345678"], ["<f8", [-1], b""], ["<f8", [1] * 9, b"12345678"]]
)
def test_arrays_that_lie_about_themselves_are_refused(fields: list[object]) -> None:
    with pytest.raises(ValueError, match="array"):
        codec.unpack(msgpack.packb(msgpack.ExtType(1, msgpack.packb(fields))))


def test_an_unknown_extension_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown extension 77"):
        codec.unpack(msgpack.packb(msgpack.ExtType(77, b"")))


def test_not_a_number_in_an_event_survives() -> None:
    decoded = codec.decode(codec.encode(envelope(payload=Progress(1, 1, float("inf"), 0.1))))
    assert decoded.payload == Progress(1, 1, float("inf"), 0.1)
