"""Keys of the arithmetic's tests, made once."""

from __future__ import annotations

import pytest

from fedbus.crypto.keys import generate_keypair
from fedbus.crypto.paillier import PrivateKey


@pytest.fixture(scope="session")
def private() -> PrivateKey:
    """A key of the smallest size: as many operations as a test wants."""
    return generate_keypair(512)


@pytest.fixture(scope="session")
def other() -> PrivateKey:
    return generate_keypair(512)
