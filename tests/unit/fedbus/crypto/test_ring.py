"""The native kernel against plain integers, and what it refuses."""

from __future__ import annotations

import operator
import pickle
import random
from collections.abc import Callable
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbus.crypto import tier as tiers
from fedbus.crypto.ring import LIMB_BITS, Ring
from fedbus.errors import CryptoError
from places import vectors

# There is none in the portable tier.
pytestmark = [
    pytest.mark.usefixtures("tier"),
    pytest.mark.parametrize("tier", [tiers.NATIVE], indirect=True),
]

VECTORS = vectors("squares.json")
# Multiples of the limb, of the block and of neither; as long as the halves of 2048- and 3072-bit keys, and longer.
SIZES = [128, 140, 140 + LIMB_BITS, 400, 408, 521, 1024, 1536, 2048, 2049, 3072, 8192]


def width_of(modulus: int) -> int:
    return 2 * ((modulus.bit_length() + 7) // 8)


def to_bytes(modulus: int, values: list[int]) -> bytes:
    return b"".join(value.to_bytes(width_of(modulus), "big") for value in values)


def from_bytes(modulus: int, blob: bytes) -> list[int]:
    width = width_of(modulus)
    return [int.from_bytes(blob[at : at + width], "big") for at in range(0, len(blob), width)]


def moduli(bits: int) -> list[int]:
    """Odd numbers of that length: the least, the greatest, some between, and one with limbs of zeros and ones."""
    least, most = 1 << (bits - 1) | 1, (1 << bits) - 1
    limbs = most ^ (((1 << LIMB_BITS) - 1) << LIMB_BITS)
    return [least, least + 2, most, most - 2, limbs | 1, random.Random(bits).getrandbits(bits) | least]


def edges(modulus: int) -> list[int]:
    square = modulus * modulus
    source = random.Random(modulus)
    some = [source.randrange(square) for _ in range(5)]
    return [0, 1, 2, square - 1, square - 2, modulus, modulus - 1, modulus + 1, square - modulus, *some]


@pytest.mark.parametrize("bits", SIZES)
def test_every_operation_is_that_of_plain_integers(bits: int) -> None:
    for modulus in moduli(bits):
        ring, square, values, width = Ring(modulus), modulus * modulus, edges(modulus), width_of(modulus)
        blob = to_bytes(modulus, values)
        numbers = ring.load(blob, width)
        assert ring.dump(numbers, width) == blob

        others = values[3:] + values[:3]
        products = [x * y % square for x, y in zip(values, others, strict=True)]
        assert from_bytes(modulus, ring.multiply(blob, to_bytes(modulus, others), width)) == products
        times = ring.times(numbers, ring.load(to_bytes(modulus, others), width))
        assert from_bytes(modulus, ring.dump(times, width)) == products

        shifts = [value % modulus for value in others]
        half = b"".join(shift.to_bytes(width // 2, "big") for shift in shifts)
        shifted = [x * (1 - modulus * s) % square for x, s in zip(values, shifts, strict=True)]
        assert from_bytes(modulus, ring.dump(numbers, width, half)) == shifted

        for exponent in (0, 1, 2, 255, 256, modulus - 1 if bits < 600 else 65537):
            powers = ring.dump(ring.raise_(numbers, exponent), width)
            assert from_bytes(modulus, powers) == [pow(x, exponent, square) for x in values]
        powers = ring.dump(ring.powers(numbers, 4), width)
        assert from_bytes(modulus, powers) == [pow(x, step, square) for x in values for step in range(4)]


@st.composite
def indices(draw: st.DrawFn) -> list[list[int]]:
    one = st.lists(st.integers(-1, 13), max_size=draw(st.sampled_from([1, 3, 30])))
    return draw(st.lists(one, max_size=30))


@given(indices(), st.sampled_from([128, 521, 1040]))
@settings(max_examples=60, deadline=None)
def test_products_of_any_lengths(lists: list[list[int]], bits: int) -> None:
    modulus = moduli(bits)[-1]
    ring, square, values, width = Ring(modulus), modulus * modulus, edges(modulus), width_of(modulus)
    starts = np.cumsum([0, *map(len, lists)])
    chosen = np.array([index for one in lists for index in one], dtype=np.int32)
    products = ring.products(ring.load(to_bytes(modulus, values), width), starts, chosen)
    # An index of -1 is the number 1.
    table = [*values, 1]
    assert from_bytes(modulus, ring.dump(products, width)) == [
        reduce(lambda x, index: x * table[index] % square, one, 1) for one in lists
    ]


@given(st.integers(1, 20), st.integers(1, 5), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_weighted_products(count: int, steps: int, source: random.Random) -> None:
    modulus = moduli(521)[-1]
    ring, square, values, width = Ring(modulus), modulus * modulus, edges(modulus), width_of(modulus)
    chosen = np.array([[source.randrange(-1, len(values)) for _ in range(steps)] for _ in range(count)])
    weighed = ring.weigh(ring.load(to_bytes(modulus, values), width), chosen)
    table = [*values, 1]
    assert from_bytes(modulus, ring.dump(weighed, width)) == [
        reduce(operator.mul, (table[index] ** (steps - step) for step, index in enumerate(row))) % square
        for row in chosen.tolist()
    ]


def test_numbers_longer_than_the_modulus_are_reduced() -> None:
    for bits in (1020, 1021, 2041):
        modulus = moduli(bits)[0]
        ring, width = Ring(modulus), width_of(modulus)
        values = [256**width - 1, 256**width - 2, modulus * modulus]
        blob = to_bytes(modulus, values)
        reduced = [value % modulus**2 for value in values]
        assert from_bytes(modulus, ring.dump(ring.load(blob, width), width)) == reduced
        assert from_bytes(modulus, ring.multiply(blob, blob, width)) == [x * x % modulus**2 for x in reduced]


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: f"{len(case['modulus']) * 4 - 8} bits")
def test_known_answers(case: dict[str, str]) -> None:
    modulus, left, right, exponent, shift, product, power, shifted = (
        int(case[name], 16) for name in ("modulus", "left", "right", "exponent", "shift", "product", "power", "shifted")
    )
    ring, width = Ring(modulus), width_of(modulus)
    blob = to_bytes(modulus, [left])
    number = ring.load(blob, width)
    assert from_bytes(modulus, ring.multiply(blob, to_bytes(modulus, [right]), width)) == [product]
    assert from_bytes(modulus, ring.dump(ring.raise_(number, exponent), width)) == [power]
    assert from_bytes(modulus, ring.dump(number, width, shift.to_bytes(width // 2, "big"))) == [shifted]


def test_a_ring_travels() -> None:
    ring = Ring(moduli(521)[-1])
    assert pickle.loads(pickle.dumps(ring)).one == ring.one  # noqa: S301  # as child processes get it


def test_empty_vectors() -> None:
    ring = Ring(moduli(521)[-1])
    none = np.array([], np.int32)
    assert ring.load(b"", 132) == ring.dump(b"", 132) == ring.multiply(b"", b"", 132) == ring.raise_(b"", 3) == b""
    assert ring.products(b"", np.array([0, 0]), none) == ring.one
    assert ring.products(b"", np.array([0]), none) == b""
    assert ring.powers(b"", 3) == b""


MODULUS = moduli(521)[-1]
BAD: dict[str, Callable[[Ring], object]] = {
    "part of an integer": lambda ring: ring.load(bytes(133), 132),
    "an odd width": lambda ring: ring.load(bytes(133), 133),
    "a width of 0": lambda ring: ring.load(b"", 0),
    "a negative width": lambda ring: ring.load(b"", -2),
    "too wide integers": lambda ring: ring.load(bytes(200), 200),
    "part of a number": lambda ring: ring.dump(ring.one[:-8], 132),
    "too narrow integers": lambda ring: ring.dump(ring.one, 128),
    "too wide results": lambda ring: ring.dump(ring.one, 400),
    "too few shifts": lambda ring: ring.dump(ring.one * 2, 132, bytes(66)),
    "part of a shift": lambda ring: ring.dump(ring.one, 132, bytes(65)),
    "vectors of two lengths": lambda ring: ring.multiply(bytes(132), bytes(264), 132),
    "an index beyond the table": lambda ring: ring.products(ring.one, np.array([0, 1]), np.array([1])),
    "an index below -1": lambda ring: ring.products(ring.one, np.array([0, 1]), np.array([-2])),
    "starts beyond the indices": lambda ring: ring.products(ring.one, np.array([0, 2]), np.array([0])),
    "starts that descend": lambda ring: ring.products(ring.one, np.array([1, 0]), np.array([0])),
    "negative starts": lambda ring: ring.products(ring.one, np.array([-1, 0]), np.array([0])),
    "no starts": lambda ring: ring.products(ring.one, np.array([]), np.array([0])),
    "no powers": lambda ring: ring.powers(ring.one, 0),
    "an index to weigh beyond the table": lambda ring: ring.weigh(ring.one, np.array([[1]])),
    "no steps": lambda ring: ring.weigh(ring.one, np.zeros((1, 0), np.int32)),
}


@pytest.mark.parametrize("call", BAD.values(), ids=BAD)
def test_wrong_sizes_are_refused_before_anything_is_computed(call: Callable[[Ring], object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # which of the checks it is does not matter
        call(Ring(MODULUS))


def test_bytes_that_are_no_ring_are_refused() -> None:
    native, good = tiers.native(), Ring(MODULUS)._words
    assert native is not None
    even = bytes([good[0] & 0xFE]) + good[1:]
    large = good[:-1] + b"\xff"
    long = Ring((1 << 8192) - 1)._words
    words = len(long) // 40 + 2
    for bad in (b"", good[:-1], good[8:], bytes(len(good)), even, large, bytes(8 * (5 * words + 1)), bytes(8 * 11)):
        with pytest.raises(ValueError):  # noqa: PT011
            native.load(bad, bytes(132), 132)
    modulus = Ring(MODULUS)._modulus
    for bad in (b"", modulus[:-1], modulus[8:], bytes(len(modulus)), (99).to_bytes(8, "little") + modulus[8:]):
        with pytest.raises(ValueError):  # noqa: PT011
            native.multiply(bad, bytes(132), bytes(132), 132)


def test_without_the_extension_a_ring_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Ring(MODULUS)
    monkeypatch.setattr(tiers, "extension", None)
    with pytest.raises(CryptoError, match="extension is not there"):
        ring.load(bytes(132), 132)
