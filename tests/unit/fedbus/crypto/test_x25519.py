"""Both implementations of x25519 against RFC 7748, RFC 9380, OpenSSL and plain integers, and what they refuse."""

from __future__ import annotations

import random
import threading
from typing import Any

import elligator
import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from elligator import P
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbus.crypto import curve, curve25519
from fedbus.crypto.masking import SecretStream
from fedbus.errors import CryptoError, InvalidPoint
from places import vectors

VECTORS = vectors("x25519.json")
# Points whose order divides 8 on the curve or 4 on its twist: RFC 7748 security considerations.
LOW_ORDER = [
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P - 1,
]
NATIVE: Any = curve._native
needs_native = pytest.mark.skipif(
    NATIVE is None or not NATIVE.supported, reason="no compiler, or a processor without AVX-512 IFMA"
)


@pytest.fixture(params=[pytest.param("native", marks=needs_native), "portable"])
def x25519(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An implementation, which `curve` uses too."""
    monkeypatch.setenv("FEDBUS_TIER", request.param)
    return NATIVE if request.param == "native" else curve25519


def split(points: bytes) -> list[bytes]:
    return [points[start : start + 32] for start in range(0, len(points), 32)]


@pytest.mark.parametrize(("scalar", "point", "result"), VECTORS["exchange"])
def test_exchanges_as_the_rfc(x25519: Any, scalar: str, point: str, result: str) -> None:
    assert x25519.exchange(bytes.fromhex(scalar), bytes.fromhex(point)).hex() == result


def test_iterates_as_the_rfc(x25519: Any) -> None:
    scalar = point = elligator.encode(9)
    for number in range(1, 1001):
        scalar, point = x25519.exchange(scalar, point), scalar
        if str(number) in VECTORS["iterated"]:
            assert scalar.hex() == VECTORS["iterated"][str(number)]


def test_encodes_as_the_rfc(x25519: Any) -> None:
    texts = [text for text, _, _ in VECTORS["encoded"]]
    tag = VECTORS["tag"].encode()
    points = x25519.encode(texts, tag)
    assert [point[::-1].hex() for point in split(points)] == [q for _, q, _ in VECTORS["encoded"]]
    # The last step of the RFC, clear_cofactor, which a clamped scalar does in passing.
    cleared = [elligator.ladder(8, int.from_bytes(point, "little")) for point in split(points)]
    assert [f"{u:064x}" for u in cleared] == [p for _, _, p in VECTORS["encoded"]]


# A lane, a vector, a block of vectors that share an inversion; one less and one more.
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 127, 128, 129, 300])
def test_exchanges_as_openssl(x25519: Any, count: int) -> None:
    points, scalar = random.Random(count).randbytes(32 * count), random.Random(-1 - count).randbytes(32)
    key = X25519PrivateKey.from_private_bytes(scalar)
    expected = [key.exchange(X25519PublicKey.from_public_bytes(point)) for point in split(points)]
    assert split(x25519.exchange(scalar, points)) == expected


EDGES = [0, 1, 2, 9, 18, 19, 20, 2**52 - 1, 2**52, 2**104 - 1, 2**208 - 1, 2**208, 2**255 - 1, *range(P - 3, P + 3)]


@pytest.mark.parametrize("scalar", [bytes(32), b"\xff" * 32, b"\x55" * 32, b"\xaa" * 32])
def test_exchanges_edges_as_plain_integers(x25519: Any, scalar: bytes) -> None:
    clamped = int.from_bytes(scalar, "little") & (2**255 - 8) | 2**254
    limbs = [sum((edge if at % 2 else 0) << (52 * at) for at in range(5)) for edge in (1, 2**51, 2**52 - 1)]
    edges = EDGES + [limb % 2**255 for limb in limbs]
    expected = [elligator.encode(elligator.ladder(clamped, edge % P)) for edge in edges]
    assert split(x25519.exchange(scalar, b"".join(map(elligator.encode, edges)))) == expected


@needs_native
@settings(deadline=None, max_examples=40)
@given(st.binary(min_size=32, max_size=32), st.lists(st.integers(0, 2**256 - 1), min_size=1, max_size=20))
def test_exchanges_anything_as_plain_integers(scalar: bytes, points: list[int]) -> None:
    clamped = int.from_bytes(scalar, "little") & (2**255 - 8) | 2**254
    expected = [elligator.encode(elligator.ladder(clamped, point % 2**255 % P)) for point in points]
    assert split(NATIVE.exchange(scalar, b"".join(map(elligator.encode, points)))) == expected


@needs_native
@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(max_size=400), max_size=20), st.binary(min_size=1, max_size=255))
def test_encodes_anything_as_plain_integers(texts: list[str], tag: bytes) -> None:
    valid = [text for text in texts if not any("\ud800" <= letter <= "\udfff" for letter in text)]
    expected = [elligator.encode_to_curve(text, tag) for text in valid]
    assert split(NATIVE.encode(valid, tag)) == split(curve25519.encode(valid, tag)) == expected


def test_ids_of_every_length_around_a_block(x25519: Any) -> None:
    texts = ["x" * length for length in range(300)]
    assert split(x25519.encode(texts, b"tag")) == [elligator.encode_to_curve(text, b"tag") for text in texts]


@pytest.mark.usefixtures("x25519")
def test_ids_are_points_of_the_curve_and_never_of_its_twist() -> None:
    ids = [f"user-{number}" for number in range(200)]
    points = curve.hash_to_group(ids, b"job", curve.X25519)
    assert all(elligator.on_curve(int.from_bytes(point, "little")) for point in split(points))
    blinded = curve.blind(points, bytes(range(32)), group=curve.X25519)
    for point in split(blinded)[:20]:
        assert elligator.on_curve(int.from_bytes(point, "little"))
        # Blinded, they are in the subgroup of prime order: no bit tells one coset from another.
        assert elligator.ladder(elligator.ORDER, int.from_bytes(point, "little")) == 0


@pytest.mark.usefixtures("x25519")
def test_blinding_commutes_and_domains_differ() -> None:
    ids, g, h = ["a", "Zoë", "", "a"], bytes(range(32)), b"\x77" * 32
    points = curve.hash_to_group(ids, b"job", curve.X25519)
    once = curve.blind(points, g, group=curve.X25519)
    assert curve.blind(once, h, group=curve.X25519) == curve.blind(
        curve.blind(points, h, group=curve.X25519), g, group=curve.X25519
    )
    assert split(once)[0] == split(once)[3] != split(once)[1]
    assert curve.hash_to_group(ids, b"job2", curve.X25519) != points
    assert curve.hash_to_group(["c"], b"ab", curve.X25519) != curve.hash_to_group(["bc"], b"a", curve.X25519)


@pytest.mark.usefixtures("x25519")
@pytest.mark.parametrize("point", [0, *LOW_ORDER, P, P + 1, 2**255 - 1, 9 + 2**255])
def test_what_is_no_element_is_refused_by_index(point: int) -> None:
    good, bad = elligator.encode(9), elligator.encode(point)
    for scalar in (bytes(32), b"\xff" * 32):
        with pytest.raises(InvalidPoint, match="element 9 is"):
            curve.blind(good * 9 + bad + good, scalar, group=curve.X25519)
        with pytest.raises(InvalidPoint, match="element 7 is"):
            curve.blind(bad, scalar, first=7, group=curve.X25519)


def test_points_of_low_order_are_all_of_them() -> None:
    for point in LOW_ORDER:
        assert elligator.ladder(8, point) == 0
    # And no exponent leads anybody else there: it is neither a multiple of the curve's order nor of the twist's.
    for scalar in (2**254, 2**255 - 8):
        assert scalar // 8 < min(elligator.ORDER, elligator.TWIST_ORDER) or scalar % elligator.ORDER
        assert scalar % elligator.ORDER
        assert scalar % elligator.TWIST_ORDER


@pytest.mark.usefixtures("x25519")
@pytest.mark.parametrize("scalar", [b"", b"\1" * 31, b"\1" * 33])
def test_scalars_of_another_length_are_refused(scalar: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        curve.blind(elligator.encode(9), scalar, group=curve.X25519)


@given(st.lists(st.sampled_from([0, 1, 9, P - 1, P, P + 1, 2**255 - 1, 2**255, 2**256 - 1, 2**192]), max_size=20))
def test_invalid_points_are_found_as_plain_integers_say(points: list[int]) -> None:
    expected = next((at for at, point in enumerate(points) if not 0 < point < P), -1)
    encoded = b"".join(map(elligator.encode, points))
    assert curve25519.first_invalid(encoded) == expected
    assert NATIVE is None or NATIVE.first_invalid(encoded) == expected


def test_what_is_given_is_checked(x25519: Any) -> None:
    with pytest.raises(ValueError, match="tag"):
        x25519.encode(["a"], b"")
    with pytest.raises(ValueError, match="tag"):
        x25519.encode(["a"], bytes(256))
    with pytest.raises(UnicodeEncodeError):
        x25519.encode(["\ud800"], b"tag")
    with pytest.raises(ValueError, match="32 bytes"):
        x25519.exchange(bytes(32), bytes(33))


@needs_native
def test_the_extension_takes_texts_only() -> None:
    with pytest.raises(TypeError):
        NATIVE.encode(["a", 1], b"tag")


def test_exponents_of_the_group_are_any_bytes_drawn_again_after_a_restart() -> None:
    drawn = {SecretStream(b"s" * 32, "label").scalar(curve.X25519) for _ in range(3)}
    assert drawn == {SecretStream(b"s" * 32, "label").read(32)}


@needs_native
def test_other_threads_run_meanwhile() -> None:
    points, ticks, done = elligator.encode(9) * 40_000, [0], threading.Event()

    def tick() -> None:
        while not done.wait(0.001):
            ticks[0] += 1

    thread = threading.Thread(target=tick)
    thread.start()
    NATIVE.exchange(bytes(32), points)
    done.set()
    thread.join()
    # It takes about 0.2 s; a thread that holds the interpreter's lock would let the other one in once or never.
    assert ticks[0] > 10


@needs_native
def test_the_tier_decides_on_the_implementation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDBUS_TIER", raising=False)
    assert curve.native()
    monkeypatch.setenv("FEDBUS_TIER", "portable")
    assert not curve.native()
    assert curve.groups() == (curve.X25519, curve.RISTRETTO255)


def test_an_openssl_without_x25519_leaves_the_other_group(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(_: bytes) -> None:
        raise UnsupportedAlgorithm("FIPS")

    monkeypatch.setenv("FEDBUS_TIER", "portable")
    monkeypatch.setattr(curve25519.X25519PrivateKey, "from_private_bytes", unsupported)
    curve25519.supported.cache_clear()
    try:
        assert curve.groups() == (curve.RISTRETTO255,)
        with pytest.raises(CryptoError, match="OpenSSL lacks it"):
            curve.blind(elligator.encode(9), bytes(32), group=curve.X25519)
    finally:
        curve25519.supported.cache_clear()
