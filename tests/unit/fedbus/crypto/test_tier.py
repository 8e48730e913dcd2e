"""Which arithmetic is used, and why."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fedbus.crypto import tier as tiers
from fedbus.errors import ConfigError


def asked(monkeypatch: pytest.MonkeyPatch, wanted: str, extension: object) -> tuple[str, str]:
    monkeypatch.setenv("FEDBUS_TIER", wanted)
    monkeypatch.setattr(tiers, "extension", extension)
    return tiers.current.__wrapped__()


def test_the_faster_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    there = SimpleNamespace(supported=1)
    assert asked(monkeypatch, "", there) == ("native", "the processor has AVX-512 IFMA")
    assert asked(monkeypatch, "native", there)[0] == "native"
    assert asked(monkeypatch, " Portable ", there) == ("portable", "FEDBUS_TIER=portable forces it")


def test_what_is_lacking_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    for extension, why in ((None, "no C compiler"), (SimpleNamespace(supported=0), "lacks AVX-512 IFMA")):
        found, reason = asked(monkeypatch, "", extension)
        assert (found, why in reason) == ("portable", True)
        assert asked(monkeypatch, "portable", extension) == ("portable", "FEDBUS_TIER=portable forces it")
        with pytest.raises(ConfigError, match=why):
            asked(monkeypatch, "native", extension)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert "aarch64" in asked(monkeypatch, "", SimpleNamespace(supported=0))[1]


def test_an_unknown_tier_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="native or portable, not 'fast'"):
        asked(monkeypatch, "fast", None)
