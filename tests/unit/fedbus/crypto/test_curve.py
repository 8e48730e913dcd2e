"""The alignment group against RFC 9496, and what it refuses."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import rbcl

from fedbus.crypto import curve
from fedbus.errors import InvalidPoint
from places import vectors

VECTORS = vectors("ristretto255.json")
GENERATOR = bytes.fromhex(VECTORS["multiples"]["1"])


def scalar(value: int) -> bytes:
    return value.to_bytes(curve.SCALAR_BYTES, "little")


@pytest.mark.parametrize(("label", "expected"), VECTORS["labels"].items())
def test_the_library_maps_hashes_as_the_rfc(label: str, expected: str) -> None:
    assert rbcl.crypto_core_ristretto255_from_hash(hashlib.sha512(label.encode()).digest()).hex() == expected


@pytest.mark.parametrize(("multiple", "expected"), VECTORS["multiples"].items())
def test_exponents_are_those_of_the_rfc(multiple: str, expected: str) -> None:
    assert curve.blind(GENERATOR, scalar(int(multiple))).hex() == expected
    # The inverse exponent leads back, so exponents are taken as they are, not clamped.
    assert curve.blind(bytes.fromhex(expected), scalar(pow(int(multiple), -1, curve.ORDER))) == GENERATOR


def test_ids_are_hashed_with_the_length_of_the_domain() -> None:
    digest = hashlib.sha512((3).to_bytes(8, "big") + b"job" + "Zoë".encode()).digest()
    assert curve.hash_to_group(["Zoë"], b"job") == rbcl.crypto_core_ristretto255_from_hash(digest)
    assert curve.hash_to_group(["c"], b"ab") != curve.hash_to_group(["bc"], b"a")


def test_ids_keep_their_order() -> None:
    points = curve.hash_to_group(["a", "b", "a", ""], b"d")
    size = curve.POINT_BYTES
    assert points == b"".join(curve.hash_to_group([text], b"d") for text in ("a", "b", "a", ""))
    assert points[:size] == points[2 * size : 3 * size] != points[size : 2 * size]
    assert curve.hash_to_group([], b"d") == b""


def test_blinding_commutes() -> None:
    points, g, h = curve.hash_to_group(["a", "b"], b"d"), scalar(123456789), scalar(curve.ORDER - 2)
    assert curve.blind(curve.blind(points, g), h) == curve.blind(curve.blind(points, h), g)
    assert curve.blind(points, g) != points
    assert curve.blind(b"", g) == b""


@pytest.mark.parametrize(
    "point", [*VECTORS["invalid"].values(), bytes(32).hex()], ids=[*VECTORS["invalid"], "identity"]
)
@pytest.mark.parametrize("exponent", [1, 8, curve.ORDER - 1])
def test_what_is_no_element_is_refused_by_index(point: str, exponent: int) -> None:
    with pytest.raises(InvalidPoint, match="element 1 is"):
        curve.blind(GENERATOR + bytes.fromhex(point) + GENERATOR, scalar(exponent))
    with pytest.raises(InvalidPoint, match="element 7 is"):
        curve.blind(bytes.fromhex(point), scalar(exponent), first=7)


def test_a_broken_length_is_refused_first() -> None:
    with pytest.raises(InvalidPoint, match="33 bytes"):
        curve.blind(GENERATOR + b"\0", scalar(2))


@pytest.mark.parametrize("exponent", [bytes(32), scalar(curve.ORDER), b"\xff" * 32, b"\1" * 31, b"\1" * 33, b""])
def test_exponents_out_of_range_are_refused(exponent: bytes) -> None:
    with pytest.raises(ValueError, match="exponent"):
        curve.blind(GENERATOR, exponent)


def test_the_library_leaves_no_file_behind(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", "import fedbus.crypto.curve"], env=environment, check=True)
    assert not list(tmp_path.iterdir())
