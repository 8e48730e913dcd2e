"""This module says which arithmetic the process uses: the native extension, or gmpy2 alone."""

from __future__ import annotations

import platform
from functools import cache
from importlib import import_module
from types import ModuleType

from fedbus import environment
from fedbus.errors import ConfigError

NATIVE, PORTABLE = "native", "portable"

extension: ModuleType | None
try:
    extension = import_module("fedbus.crypto._paillier")
except ImportError:
    extension = None


def native() -> ModuleType | None:
    """Return the extension, or None where gmpy2 serves."""
    return extension if current()[0] == NATIVE else None


@cache
def current() -> tuple[str, str]:
    """Return the tier in use, NATIVE or PORTABLE, and why it is that one.

    Raises:
        ConfigError: FEDBUS_TIER asks for what there is not.
    """
    wanted = environment.tier()
    if wanted not in ("", NATIVE, PORTABLE):
        raise ConfigError(f"FEDBUS_TIER is {NATIVE} or {PORTABLE}, not {wanted!r}")
    lacking = _lacking()
    if wanted == NATIVE and lacking:
        raise ConfigError(f"FEDBUS_TIER asks for the native tier, but {lacking}")
    if wanted == PORTABLE:
        return PORTABLE, "FEDBUS_TIER=portable forces it"
    return (PORTABLE, lacking) if lacking else (NATIVE, "the processor has AVX-512 IFMA")


def _lacking() -> str:
    """What keeps the native tier from being used; nothing where it can be."""
    if extension is None:
        return "the extension is not there: no C compiler, or no Python.h, at the installation"
    if not extension.supported:
        machine = platform.machine()
        return "the processor lacks AVX-512 IFMA" if machine in ("x86_64", "AMD64") else f"{machine} has no AVX-512"
    return ""
