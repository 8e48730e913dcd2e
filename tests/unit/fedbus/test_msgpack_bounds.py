"""Bodies are measured as msgpack reads them, and what would take too much is refused before it is made."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbus import codec, msgpack_bounds
from fedbus.errors import DecodeError
from fedbus.msgpack_bounds import MAX_CONTAINERS, MAX_DEPTH, MAX_VALUES

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=400)
    | st.binary(max_size=400)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=20))
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=40), inner), max_leaves=40
)


@given(VALUES)
def test_every_value_of_msgpack_is_measured_to_its_end(value: Any) -> None:
    body = msgpack.packb(value)
    msgpack_bounds.check(body)
    with pytest.raises(ValueError, match="ends early"):
        msgpack_bounds.check(body[:-1])


@given(st.binary(max_size=60))
def test_what_passes_is_read_without_running_out_of_bytes(body: bytes) -> None:
    try:
        msgpack_bounds.check(body)
    except ValueError:
        return
    try:
        msgpack.unpackb(body, strict_map_key=False)
    except msgpack.OutOfData:
        pytest.fail("measured too short")
    except (ValueError, TypeError):
        pass


def array(count: int, value: bytes) -> bytes:
    """A list of so many equal values."""
    return b"\xdd" + count.to_bytes(4, "big") + value * count


LONG = 4 * 1024**2 - 100


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (array(LONG, b"\x90"), "too many values"),
        (array(LONG, b"\xc0"), "too many values"),
        (array(LONG // 2, b"\xc4\x00"), "too many values"),
        (array(MAX_CONTAINERS, b"\x90"), "too many values"),
        (array(MAX_CONTAINERS, b"\x81\xa1a\xc0"), "too many values"),
        (array(16_000, array(200, b"\xc0")), "too many values"),
        (b"\xde\xff\xff" * 900 + bytes(1000), "too many values"),
        # Each list would be made as long as it says before the next is read: 32 GB.
        (b"\xdd\x00\x3f\x00\x00" * 1000 + bytes(LONG - 5000), "too many values"),
        (b"\x91" * (MAX_DEPTH + 1) + b"\xc0", "nested more than 32 deep"),
        (b"\x81\xa1a" * 1000 + b"\xc0", "nested more than 32 deep"),
        (b"\xc7\x40\x01" + b"\x98" * 64, "too many values|deep"),
    ],
)
def test_what_would_take_too_much_is_refused_before_it_is_made(body: bytes, reason: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match=reason):
            codec.decode(body)
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024**2
    finally:
        tracemalloc.stop()


def test_what_is_within_the_bounds_is_read() -> None:
    for value in ([0.5] * (MAX_VALUES - 1), [[]] * (MAX_CONTAINERS - 1)):
        assert codec.unpack_received(codec.pack(value)) == value
    deep: list[Any] = []
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    assert codec.unpack_received(codec.pack(deep)) == deep
