"""Shamir's shares: opened by any that are enough, by no fewer, and checked where there are more."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbus.crypto.shares import PRIME, SECRET_BYTES, SHARE_BYTES, open_all, split
from fedbus.errors import CryptoError

SECRETS = [b"0123456789abcdef", bytes(16), b"\xff" * 16]


def lagrange(points: dict[int, int]) -> int:
    """The value at zero of the polynomial through points, by the textbook."""
    total = 0
    for x, y in points.items():
        for other in points:
            if other != x:
                y = y * other * pow(other - x, -1, PRIME) % PRIME
        total += y
    return total % PRIME


def table(values: Sequence[bytes], count: int, threshold: int) -> dict[int, list[bytes]]:
    """For each holder the shares of all secrets."""
    each = [split(secret, count, threshold) for secret in values]
    return {holder: [shares[holder] for shares in each] for holder in range(count)}


def only(shares: dict[int, list[bytes]], holders: Sequence[int]) -> dict[int, list[bytes]]:
    return {holder: shares[holder] for holder in holders}


def flipped(share: bytes, at: int = -1) -> bytes:
    changed = bytearray(share)
    changed[at] ^= 1
    return bytes(changed)


def test_the_modulus_is_prime_and_holds_all_secrets() -> None:
    assert 2**128 < PRIME < 2**130
    # Fermat and Miller-Rabin: PRIME - 1 = 2 * odd, so that only the powers +1 and -1 tell of a prime.
    assert (PRIME - 1) % 4 == 2
    assert all(pow(base, (PRIME - 1) // 2, PRIME) in (1, PRIME - 1) for base in range(2, 60))


def test_shares_are_the_values_of_a_polynomial_with_random_coefficients(monkeypatch: pytest.MonkeyPatch) -> None:
    """f(x) = secret + 5 x + 7 x^2; every coefficient is drawn by `secrets`, from the whole field."""
    drawn = [5, 7]
    asked = []

    def draw(bound: int) -> int:
        asked.append(bound)
        return drawn[len(asked) - 1]

    monkeypatch.setattr(secrets, "randbelow", draw)
    secret = int.from_bytes(SECRETS[0], "big")
    expected = [(secret + 5 * x + 7 * x * x).to_bytes(SHARE_BYTES, "big") for x in (1, 2, 3, 4)]
    assert split(SECRETS[0], 4, 3) == expected
    assert asked == [PRIME, PRIME]


def test_known_answer() -> None:
    """f(x) = 2**128 - 1 + (PRIME - 1) x + 3 x^2 at 1, 3, 5, worked out by hand."""
    shares = {x - 1: [(2**128 - 1 - x + 3 * x * x).to_bytes(17, "big")] for x in (1, 3, 5)}
    assert open_all(shares, 3) == [b"\xff" * 16]


@given(st.binary(min_size=16, max_size=16), st.data())
def test_shares_open_as_the_textbook_says(secret: bytes, data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 9))
    threshold = data.draw(st.integers(2, count))
    holders = data.draw(st.permutations(range(count)))[: data.draw(st.integers(threshold, count))]
    shares = table([secret, bytes(16)], count, threshold)
    assert open_all(only(shares, holders), threshold) == [secret, bytes(16)]
    points = {holder + 1: int.from_bytes(shares[holder][0], "big") for holder in holders[:threshold]}
    assert lagrange(points).to_bytes(SECRET_BYTES, "big") == secret


def test_every_set_that_is_large_enough_opens_and_no_smaller_one() -> None:
    shares = table(SECRETS, 6, 4)
    for holders in combinations(range(6), 4):
        assert open_all(only(shares, holders), 4) == SECRETS
    for holders in combinations(range(6), 3):
        with pytest.raises(CryptoError, match="3 holders of shares are left, where 4 are needed"):
            open_all(only(shares, holders), 4)
        # Nor does it help to claim a lower threshold: what comes out is another value, and mostly no secret.
        points = {holder + 1: int.from_bytes(shares[holder][0], "big") for holder in holders}
        assert lagrange(points) != int.from_bytes(SECRETS[0], "big")


def test_fewer_shares_fit_every_secret_equally_well() -> None:
    """With two of three shares, each secret has exactly one value of the third: none is likelier than another."""
    shares = [int.from_bytes(share, "big") for share in split(SECRETS[0], 3, 3)]
    for claimed in (0, 1, 2**128 - 1):
        # The polynomial through (0, claimed), (1, …), (2, …) at 3.
        third = (claimed - 3 * shares[0] + 3 * shares[1]) % PRIME
        assert lagrange({1: shares[0], 2: shares[1], 3: third}) == claimed


def test_shares_of_two_calls_differ_and_do_not_go_together() -> None:
    one, other = split(SECRETS[0], 3, 2), split(SECRETS[0], 3, 2)
    assert not set(one) & set(other)
    with pytest.raises(CryptoError, match="holder 2 does not agree"):
        open_all({0: [one[0]], 1: [one[1]], 2: [other[2]]}, 2)


@pytest.mark.parametrize("holder", range(5))
@pytest.mark.parametrize("number", range(3))
def test_a_share_that_does_not_agree_is_found(holder: int, number: int) -> None:
    shares = table(SECRETS, 5, 3)
    shares[holder][number] = flipped(shares[holder][number])
    # A wrong one among the lowest three makes the next one disagree.
    with pytest.raises(CryptoError, match=f"share {number} of holder {max(holder, 3)} does not agree"):
        open_all(shares, 3)


def test_a_value_above_all_secrets_is_refused() -> None:
    def straight(value: int) -> dict[int, list[bytes]]:
        return {x - 1: [((value + x) % PRIME).to_bytes(17, "big")] for x in (1, 2)}

    assert open_all(straight(2**128 - 1), 2) == [b"\xff" * 16]
    for value in (2**128, PRIME - 1):
        with pytest.raises(CryptoError, match="of no secret"):
            open_all(straight(value), 2)


@pytest.mark.parametrize(
    "share", [b"", bytes(16), bytes(18), PRIME.to_bytes(17, "big"), b"\xff" * 17], ids=["0", "16", "18", "p", "max"]
)
@pytest.mark.parametrize("holder", [1, 3])
def test_what_is_no_share_is_refused(share: bytes, holder: int) -> None:
    shares = table(SECRETS, 4, 3)
    shares[holder][2] = share
    with pytest.raises(CryptoError, match=f"share 2 of holder {holder} is no share"):
        open_all(shares, 3)


def test_the_largest_share_is_one() -> None:
    largest = (PRIME - 1).to_bytes(17, "big")
    # The straight line through (1, -1) and (2, -2) goes through zero.
    assert open_all({0: [largest], 1: [(PRIME - 2).to_bytes(17, "big")]}, 2) == [bytes(16)]


def test_holders_have_shares_of_the_same_secrets() -> None:
    shares = table(SECRETS, 4, 3)
    shares[2].pop()
    with pytest.raises(CryptoError, match="holder 2 has 2 shares, holder 0 has 3"):
        open_all(shares, 3)


def test_no_secrets_are_opened_from_no_shares() -> None:
    assert open_all({0: [], 4: [], 7: []}, 3) == []


@pytest.mark.parametrize(("count", "threshold"), [(3, 1), (3, 0), (3, 4), (1, 1), (1, 2)])
def test_thresholds_that_hide_nothing_or_never_open_are_refused(count: int, threshold: int) -> None:
    with pytest.raises(ValueError, match="a threshold is 2 to the number of holders"):
        split(SECRETS[0], count, threshold)


def test_arguments_are_checked() -> None:
    for secret in (bytes(15), bytes(17)):
        with pytest.raises(ValueError, match="16 bytes"):
            split(secret, 3, 2)
    with pytest.raises(ValueError, match="2 or more"):
        open_all(table(SECRETS, 3, 2), 1)
    with pytest.raises(ValueError, match="not negative: -1"):
        open_all({-1: [], 0: []}, 2)


def test_a_hundred_secrets_of_a_hundred_holders_open_fast() -> None:
    """One interpolation a secret takes over a minute; the coefficients once for all, less than a tenth of a second."""
    values = [bytes([number]) * 16 for number in range(100)]
    shares = table(values, 100, 67)
    for holders in (range(33, 100), range(100)):
        before = time.process_time()
        assert open_all(only(shares, holders), 67) == values
        assert time.process_time() - before < 1
