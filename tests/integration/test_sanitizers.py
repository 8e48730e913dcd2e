"""The native code built with sanitizers for addresses and undefined behaviour, over the vectors of its unit tests."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from fedbus.crypto import curve
from places import ROOT

SOURCES = ROOT / "fedbus" / "crypto" / "x25519"

pytestmark = pytest.mark.skipif(
    curve._native is None or not curve._native.supported, reason="no compiler, or a processor without AVX-512 IFMA"
)

SANITIZED = """
import json, random, sys
sys.path[:0] = sys.argv[1:3]
import _x25519, elligator
vectors = json.load(open(sys.argv[3]))
for scalar, point, result in vectors["exchange"]:
    assert _x25519.exchange(bytes.fromhex(scalar), bytes.fromhex(point)).hex() == result
for count in (0, 1, 7, 8, 9, 127, 128, 129):
    points = random.randbytes(32 * count)
    assert len(_x25519.exchange(random.randbytes(32), points)) == len(points)
    _x25519.first_invalid(points)
    texts = ["x" * number for number in range(count)]
    assert _x25519.encode(texts, b"t" * (1 + count % 255)) == b"".join(
        elligator.encode_to_curve(text, b"t" * (1 + count % 255)) for text in texts
    )
for wrong in (lambda: _x25519.encode([1], b"t"), lambda: _x25519.exchange(b"", b"")):
    try:
        wrong()
    except (TypeError, ValueError):
        continue
    raise AssertionError
print("clean")
"""


def test_sanitizers_find_nothing(tmp_path: Path) -> None:
    sources = sorted(str(file) for file in SOURCES.glob("*.c"))
    include = sysconfig.get_paths()["include"]
    flags = ["-O0", "-g", "-std=gnu11", "-shared", "-fPIC", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command = ["gcc", *flags, f"-I{include}", *sources, "-o", str(tmp_path / "_x25519.abi3.so")]
    subprocess.run(command, check=True)
    runtime = subprocess.run(["gcc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True)
    environment = {**os.environ, "LD_PRELOAD": runtime.stdout.strip(), "PYTHONMALLOC": "malloc"}
    # The interpreter itself keeps what it allocates.
    environment["ASAN_OPTIONS"] = "detect_leaks=0"
    arguments = [str(tmp_path), str(ROOT / "tests" / "support"), str(ROOT / "tests" / "vectors" / "x25519.json")]
    done = subprocess.run(
        [sys.executable, "-c", SANITIZED, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "clean\n"), done.stderr
