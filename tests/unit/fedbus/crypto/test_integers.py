"""Big integers: their bytes, and powers of a fixed base against Python's."""

from __future__ import annotations

import secrets

import pytest
from gmpy2 import mpz
from hypothesis import given
from hypothesis import strategies as st

from fedbus.crypto import integers
from fedbus.crypto.integers import FixedBase
from fedbus.crypto.paillier import PrivateKey

MODULUS = mpz(2**127 - 1)
TABLE = FixedBase(mpz(3), MODULUS, 5)


@given(st.integers(0, 2**40 - 1))
def test_powers_of_a_fixed_base(exponent: int) -> None:
    assert TABLE.power(exponent.to_bytes(5, "little")) == pow(3, exponent, int(MODULUS))


def test_exponents_have_the_length_of_the_table() -> None:
    with pytest.raises(ValueError, match="5 bytes, not 4"):
        TABLE.power(bytes(4))


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_numbers_come_back_from_bytes(numbers: list[int]) -> None:
    blob = integers.pack(map(mpz, numbers), 8)
    assert blob == b"".join(number.to_bytes(8, "big") for number in numbers)
    assert integers.unpack(blob, 8) == numbers


@given(st.integers(0, 35**2 - 1), st.integers(-(35**2), 35**2))
def test_a_shift_is_a_product_modulo_the_square(number: int, m: int) -> None:
    shifted = integers.shift(mpz(number), m, mpz(35), mpz(35**2))
    assert shifted == number * (1 + 35 * m) % 35**2


def test_a_table_is_built_once_and_the_least_recent_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integers, "_tables", type(integers._tables)())
    built: list[int] = []

    def get(name: int) -> FixedBase:
        return integers.table(bytes([name]), lambda: built.append(name) or TABLE)  # type: ignore[func-returns-value]

    for name in (0, 1, 2, 3, 0, 4, 0, 1):
        assert get(name) is TABLE
    assert built == [0, 1, 2, 3, 4, 1]


@pytest.mark.usefixtures("tier")
def test_an_obfuscator_is_a_power_of_h_with_half_as_many_random_bits(
    private: PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, drawn = private.public, []
    token_bytes = secrets.token_bytes

    def draw(count: int) -> bytes:
        drawn.append(token_bytes(count))
        return drawn[-1]

    monkeypatch.setattr(secrets, "token_bytes", draw)
    blob = key.obfuscators(2)
    randomness, length = b"".join(drawn), key.bits // 16
    assert len(randomness) == 2 * length
    exponents = [int.from_bytes(randomness[:length], "little"), int.from_bytes(randomness[length:], "little")]
    assert blob == b"".join(pow(key.h, exponent, key.n**2).to_bytes(key.width, "big") for exponent in exponents)
