"""The kernel's tests once more, with the extension built so that a read or write outside an array ends the process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from fedbus.crypto import tier as tiers
from places import ROOT

INNER = """
import importlib.util, sys
import pytest
from fedbus.crypto import tier
spec = importlib.util.spec_from_file_location("fedbus.crypto._paillier", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
tier.extension = module
tier.current.cache_clear()
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:faulthandler", *sys.argv[2:]]))
"""


def library(compiler: str, name: str) -> Path:
    found = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return Path(found.stdout.strip())


def build(compiler: str, folder: Path, *options: str) -> Path:
    extension = folder / "_paillier.abi3.so"
    sources = sorted((ROOT / "fedbus" / "crypto" / "native").glob("*.c"))
    include = f"-I{sysconfig.get_path('include')}"
    warnings = ["-Wall", "-Wextra", "-Werror"]
    command = [compiler, "-shared", "-fPIC", "-g1", "-std=gnu11", *warnings, *options, include, *map(str, sources)]
    subprocess.run([*command, "-o", str(extension)], check=True)
    return extension


@pytest.mark.timeout(600)
@pytest.mark.parametrize("tier", [tiers.NATIVE], indirect=True)
@pytest.mark.usefixtures("tier")
def test_the_kernel_stays_inside_its_arrays(tmp_path: Path) -> None:
    compiler = shutil.which(os.environ.get("CC", "gcc"))
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    runtime = library(compiler, "libasan.so")
    if not runtime.is_absolute():
        pytest.skip("the compiler has no address sanitizer")
    # At -O1 the compiler takes longer than the tests.
    extension = build(compiler, tmp_path, "-Og", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
    # Python itself leaves memory behind, and its allocator would hide the ends of buffers.
    options = {"LD_PRELOAD": str(runtime), "ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc"}
    tests = Path(__file__).with_name("test_ring.py")
    ran = subprocess.run(
        [sys.executable, "-c", INNER, str(extension), str(tests)],
        env=os.environ | options,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert " passed" in ran.stdout
