"""Keys of the arithmetic's tests, made once, and the tiers, in both of which a test runs that depends on them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fedbus.crypto import tier as tiers
from fedbus.crypto.keys import generate_keypair
from fedbus.crypto.paillier import PrivateKey


@pytest.fixture(scope="module", params=[tiers.PORTABLE, tiers.NATIVE])
def tier(request: pytest.FixtureRequest) -> Iterator[str]:
    """The arithmetic in use, in child processes too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDBUS_TIER", "")
        tiers.current.cache_clear()
        found, why = tiers.current()
        if request.param == tiers.NATIVE and found != tiers.NATIVE:
            pytest.skip(f"no native tier: {why}")
        patch.setenv("FEDBUS_TIER", request.param)
        tiers.current.cache_clear()
        assert tiers.current()[0] == request.param
        yield request.param
    tiers.current.cache_clear()


@pytest.fixture(scope="session")
def private() -> PrivateKey:
    """A key of the smallest size: as many operations as a test wants."""
    return generate_keypair(512)


@pytest.fixture(scope="session")
def other() -> PrivateKey:
    return generate_keypair(512)
