"""Obfuscators in stock: made only in idle time, no more than wanted, and handed out once."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from fedbus.crypto.keys import generate_keypair
from fedbus.crypto.paillier import PrivateKey, PublicKey
from fedbus.crypto.reserve import MAX_BATCH, Reserve
from fedbus.errors import CryptoError

pytestmark = pytest.mark.usefixtures("tier")


class FakePool:
    """Children whose batches arrive when the test says so; obfuscator number k is the integer k."""

    processes = 2

    def __init__(self) -> None:
        self.batches: list[tuple[Future[Any], PublicKey, int]] = []
        self.made = 0
        self.refuse: Exception | None = None

    def submit(self, _: object, key: PublicKey, count: int) -> Future[Any]:
        if self.refuse:
            raise self.refuse
        future: Future[Any] = Future()
        self.batches.append((future, key, count))
        return future

    def arrive(self) -> None:
        future, key, count = self.batches.pop(0)
        numbers = range(self.made, self.made + count)
        self.made += count
        future.set_result((b"".join(number.to_bytes(key.width, "big") for number in numbers), 0.5))

    def counts(self) -> list[int]:
        return [count for _, _, count in self.batches]


@pytest.fixture
def pool() -> FakePool:
    return FakePool()


@pytest.fixture
def reports() -> list[tuple[int, float]]:
    return []


@pytest.fixture
def reserve(pool: FakePool, reports: list[tuple[int, float]]) -> Reserve:
    return Reserve(pool, lambda *report: reports.append(report))  # type: ignore[arg-type]


def numbers(key: PublicKey, taken: bytes) -> list[int]:
    return [int.from_bytes(taken[at : at + key.width], "big") for at in range(0, len(taken), key.width)]


def test_small_batches_one_a_process_until_there_are_enough(
    pool: FakePool, reserve: Reserve, reports: list[tuple[int, float]], private: PrivateKey
) -> None:
    key = private.public
    reserve.prefill(key, 3 * MAX_BATCH + 1)
    assert pool.counts() == [MAX_BATCH, MAX_BATCH]
    pool.arrive()
    assert pool.counts() == [MAX_BATCH, MAX_BATCH]
    pool.arrive()
    assert pool.counts() == [MAX_BATCH, 1]
    pool.arrive()
    pool.arrive()
    assert pool.counts() == []
    assert reserve.ready(key) == 3 * MAX_BATCH + 1
    assert reports == [(MAX_BATCH, 0.5)] * 3 + [(1, 0.5)]


def test_each_is_handed_out_once_and_made_again(pool: FakePool, reserve: Reserve, private: PrivateKey) -> None:
    key = private.public
    reserve.prefill(key, 5)
    pool.arrive()
    with reserve.paused():
        taken = (
            numbers(key, reserve.take(key, 2)) + numbers(key, reserve.take(key, 9)) + numbers(key, reserve.take(key, 1))
        )
        assert taken == [0, 1, 2, 3, 4]
        assert pool.counts() == []
    assert pool.counts() == [5]
    pool.arrive()
    assert numbers(key, reserve.take(key, 5)) == [5, 6, 7, 8, 9]


def test_nothing_is_begun_while_anything_else_is_computed(
    pool: FakePool, reserve: Reserve, private: PrivateKey
) -> None:
    with reserve.paused():
        with reserve.paused():
            reserve.prefill(private.public, 200)
        assert pool.counts() == []
    assert pool.counts() == [64, 64]
    with reserve.paused():
        pool.arrive()
        assert pool.counts() == [64]
    assert pool.counts() == [64, 64]


def test_a_key_without_stock_has_none(reserve: Reserve, private: PrivateKey) -> None:
    assert reserve.take(private.public, 5) == b""
    assert reserve.ready(private.public) == 0


def test_keys_do_not_share(pool: FakePool, reserve: Reserve, private: PrivateKey, other: PrivateKey) -> None:
    reserve.prefill(private.public, 2)
    pool.arrive()
    assert reserve.take(other.public, 2) == b""
    assert reserve.ready(private.public) == 2


def test_a_stock_is_dropped_on_request(pool: FakePool, reserve: Reserve, private: PrivateKey) -> None:
    key = private.public
    reserve.prefill(key, 100)
    pool.arrive()
    reserve.prefill(key, 0)
    pool.arrive()
    assert (reserve.ready(key), pool.counts()) == (0, [])


def test_only_the_last_few_keys_keep_their_stock(pool: FakePool, reserve: Reserve) -> None:
    keys = [generate_keypair(512).public for _ in range(5)]
    for key in keys:
        reserve.prefill(key, 1)
        pool.arrive()
    assert [reserve.ready(key) for key in keys] == [0, 1, 1, 1, 1]


def test_a_pool_that_refuses_is_asked_again_later(pool: FakePool, reserve: Reserve, private: PrivateKey) -> None:
    pool.refuse = CryptoError("refused")
    reserve.prefill(private.public, 3)
    pool.refuse = None
    with reserve.paused():
        pass
    assert pool.counts() == [3]


def test_a_batch_that_is_lost_is_made_later(pool: FakePool, reserve: Reserve, private: PrivateKey) -> None:
    reserve.prefill(private.public, 3)
    pool.batches.pop()[0].set_exception(CryptoError("died twice"))
    assert pool.counts() == []
    with reserve.paused():
        pass
    assert pool.counts() == [3]


@pytest.mark.parametrize(
    ("key", "batch"),
    [(PublicKey(2**2047 + 1), 64), (PublicKey(2**3071 + 1), 18), (PublicKey(2**2047 + 1, short_exponents=False), 5)],
)
def test_batches_of_slower_keys_are_smaller(pool: FakePool, reserve: Reserve, key: PublicKey, batch: int) -> None:
    reserve.prefill(key, 1000)
    assert pool.counts() == [batch, batch]
