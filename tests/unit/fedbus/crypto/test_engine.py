"""The engine gives what the plain operations give, with as many processes as there are."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from fedbus import metrics
from fedbus.crypto import curve
from fedbus.crypto import engine as engine_module
from fedbus.crypto.engine import Engine
from fedbus.crypto.paillier import PrivateKey, PublicKey
from fedbus.crypto.tensor import CipherTensor
from fedbus.errors import CryptoError, FixedPointOverflow, InvalidCiphertext, InvalidPoint, WrongKey

pytestmark = pytest.mark.usefixtures("tier")


@pytest.fixture(scope="module")
def children(tier: str) -> Iterator[Engine]:
    engine = Engine(2)
    engine.warm_up()
    yield engine
    engine.close()


@pytest.fixture(scope="module", params=["inline", "children"])
def engine(request: pytest.FixtureRequest, tier: str) -> Iterator[Engine]:
    if request.param == "children":
        yield request.getfixturevalue("children")
    else:
        inline = Engine(0)
        yield inline
        inline.close()


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 101])
def test_encrypts_and_decrypts_in_order(engine: Engine, private: PrivateKey, count: int) -> None:
    values = [(-1) ** number * number**9 for number in range(count)]
    encrypted = engine.encrypt(private.public, values, 5)
    assert (len(encrypted), encrypted.scale) == (count, 5)
    assert engine.decrypt(private, encrypted) == private.decrypt(encrypted) == values
    assert engine.decrypt_residues(private, encrypted) == [value % private.public.n for value in values]


def test_adds_and_obfuscates(engine: Engine, private: PrivateKey) -> None:
    key = private.public
    before = key.encrypt(np.arange(40), 3)
    residues = [key.n - number for number in range(1, 41)]
    after = engine.add_plain_obfuscated(key, before, residues)
    assert private.decrypt(after) == [-1] * 40
    assert after.scale == 3
    # Without obfuscation the residue modulo n would stay, whatever is added.
    assert not {number % key.n for number in numbers(before)} & {number % key.n for number in numbers(after)}
    fresh = engine.obfuscate(key, before)
    assert private.decrypt(fresh) == list(range(40))
    assert not {*numbers(before)} & {*numbers(fresh)}


def numbers(tensor: CipherTensor) -> list[int]:
    width = tensor.width
    return [int.from_bytes(tensor.blob[at : at + width], "big") for at in range(0, len(tensor.blob), width)]


@pytest.mark.parametrize("shape", [(0, 0), (0, 2), (3, 0), (1, 1), (700, 3), (600, 7), (90, 40)])
def test_products_by_rows_and_by_columns(engine: Engine, private: PrivateKey, shape: tuple[int, int]) -> None:
    random = np.random.default_rng(4)
    matrix = random.integers(-1000, 1000, size=shape)
    values = random.integers(-1000, 1000, size=shape[0])
    product = engine.matvec(private.public, matrix, private.public.encrypt(values, 2), 16)
    assert product.scale == 18
    assert private.decrypt(product) == (matrix.T @ values).tolist()


def test_aligns(engine: Engine) -> None:
    ids = [f"user-{number}" for number in range(1201)]
    points = engine.hash_to_group(ids, b"job")
    assert points == curve.hash_to_group(ids, b"job")
    exponent = (77).to_bytes(32, "little")
    assert engine.blind(points, exponent) == curve.blind(points, exponent)
    assert engine.blind(b"", exponent) == b""


def test_aligns_in_x25519(engine: Engine) -> None:
    ids, exponent = [f"user-{number}" for number in range(1201)], bytes(range(32))
    points = engine.hash_to_group(ids, b"job", curve.X25519)
    assert points == curve.hash_to_group(ids, b"job", curve.X25519)
    assert engine.blind(points, exponent, curve.X25519) == curve.blind(points, exponent, group=curve.X25519)
    with pytest.raises(InvalidPoint, match="element 1201 is"):
        engine.blind(points + bytes(32), exponent, curve.X25519)
    closed = Engine(2)
    closed.blind(points, exponent, curve.X25519)
    closed.close()
    with pytest.raises(CryptoError, match="the engine is closed"):
        closed.blind(points, exponent, curve.X25519)


def test_blinds_chunk_by_chunk(engine: Engine) -> None:
    exponent = (77).to_bytes(32, "little")
    chunks = [curve.hash_to_group([f"{number}/{at}" for at in range(3)], b"d") for number in range(4)]
    assert list(engine.blind_each(iter(chunks), exponent)) == [curve.blind(points, exponent) for points in chunks]
    assert list(engine.blind_each([], exponent)) == []
    results = engine.blind_each([chunks[0], chunks[1] + bytes(32)], exponent)
    assert next(results) == curve.blind(chunks[0], exponent)
    with pytest.raises(InvalidPoint, match="element 6 is"):
        next(results)


def test_makes_keys(engine: Engine) -> None:
    private = engine.generate_keypair(512)
    assert private.public.bits == 512
    assert private.decrypt(private.public.encrypt([-3], 0)) == [-3]


def test_refuses_what_the_operations_refuse(engine: Engine, private: PrivateKey, other: PrivateKey) -> None:
    key, foreign = private.public, other.public.encrypt([1], 0)
    good = key.encrypt([1], 0)
    engine.check(key, good)
    with pytest.raises(WrongKey):
        engine.check(key, foreign)
    with pytest.raises(WrongKey):
        engine.decrypt(private, foreign)
    with pytest.raises(FixedPointOverflow):
        engine.encrypt(key, [key.n], 0)
    with pytest.raises(ValueError, match="2 integers cannot be added to 1"):
        engine.add_plain_obfuscated(key, good, [1, 2])
    with pytest.raises(ValueError, match="does not fit 1 ciphertexts"):
        engine.matvec(key, np.ones((2, 1), np.int64), good, 0)
    with pytest.raises(InvalidPoint, match="33 bytes"):
        engine.blind(bytes(33), (7).to_bytes(32, "little"))


def test_errors_name_the_index_in_the_whole_vector(engine: Engine, private: PrivateKey) -> None:
    key = private.public
    good = key.encrypt([1], 0)
    bad = CipherTensor(key.fingerprint, 0, key.width, bytes(key.width))
    with pytest.raises(InvalidCiphertext, match="number 2500 of"):
        engine.check(key, CipherTensor.join([good] * 2500 + [bad] + [good] * 10))
    points = curve.hash_to_group(["a"], b"d") * 250
    with pytest.raises(InvalidPoint, match="element 250 is"):
        engine.blind(points + bytes(32), (7).to_bytes(32, "little"))


def test_threads_share_an_engine(children: Engine, private: PrivateKey) -> None:
    found: dict[int, list[int]] = {}

    def work(number: int) -> None:
        found[number] = children.decrypt(private, children.encrypt(private.public, [number] * 20, 0))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [number] * 20 for number in range(8)}


def test_operations_and_their_seconds_are_counted(engine: Engine, private: PrivateKey) -> None:
    def figures(operation: str) -> tuple[float, float]:
        return (
            metrics.crypto_operations.labels(operation)._value.get(),
            metrics.crypto_seconds.labels(operation)._value.get(),
        )

    before = {operation: figures(operation) for operation in ("encrypt", "multiply", "decrypt")}
    encrypted = engine.encrypt(private.public, [1] * 50, 0)
    engine.decrypt(private, engine.matvec(private.public, np.full((50, 3), 12345), encrypted, 0))
    for operation, count in (("encrypt", 50), ("multiply", 150), ("decrypt", 3)):
        operations, seconds = figures(operation)
        assert operations - before[operation][0] == count
        assert 0 < seconds - before[operation][1] < 10


def test_obfuscators_are_made_in_idle_time_and_each_is_used_once(
    children: Engine, private: PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, made, enough, count = private.public, [], threading.Event(), engine_module._count

    def counted(operation: str, number: int, seconds: float) -> None:
        count(operation, number, seconds)
        if operation == "obfuscator":
            made.append(number)
            if sum(made) >= 100:
                enough.set()

    monkeypatch.setattr(engine_module, "_count", counted)
    children.prefill(key, 100)
    assert enough.wait(30)
    assert children.prefilled(key) == 100
    stock = {
        *numbers(CipherTensor(key.fingerprint, 0, key.width, bytes(children._reserve._stocks[key.fingerprint].ready)))
    }
    # An encryption of zero is its obfuscator.
    used = [*numbers(children.encrypt(key, [0] * 60, 0)), *numbers(children.encrypt(key, [0] * 60, 0))]
    assert len(stock) == 100
    assert stock <= {*used}
    assert len({*used}) == 120
    children.prefill(key, 0)
    assert children.prefilled(key) == 0


def test_those_in_stock_are_used_first(children: Engine, private: PrivateKey, monkeypatch: pytest.MonkeyPatch) -> None:
    key = private.public
    stock = key.obfuscators(21)
    monkeypatch.setattr(children._reserve, "take", lambda *_: stock)
    # An encryption of zero is its obfuscator.
    encrypted = numbers(children.encrypt(key, [0] * 33, 0))
    ready = numbers(CipherTensor(key.fingerprint, 0, key.width, stock))
    assert [number for number in encrypted if number in ready] == ready
    assert len({*encrypted}) == 33


def test_a_closed_engine_says_so(private: PrivateKey) -> None:
    engine = Engine(1)
    engine.close()
    engine.close()
    with pytest.raises(CryptoError, match="the engine is closed"):
        engine.encrypt(private.public, [1], 0)
    engine.prefill(private.public, 5)
    assert engine.prefilled(private.public) == 0


@pytest.mark.parametrize("processes", [0, 2])
def test_a_closed_engine_refuses_every_operation(private: PrivateKey, processes: int) -> None:
    key, engine = private.public, Engine(processes)
    tensor, exponent = key.encrypt([1, 2], 0), (7).to_bytes(32, "little")
    engine.close()
    for operation in (
        engine.generate_keypair,
        lambda: engine.obfuscate(key, tensor),
        lambda: engine.add_plain_obfuscated(key, tensor, [1, 2]),
        lambda: engine.matvec(key, np.ones((2, 1), np.int64), tensor, 0),
        lambda: engine.matvec(key, np.ones((2, 9), np.int64), tensor, 0),
        lambda: engine.check(key, tensor),
        lambda: engine.decrypt(private, tensor),
        lambda: engine.decrypt_residues(private, tensor),
        lambda: engine.hash_to_group(["a"], b"d"),
        lambda: engine.blind(bytes(32), exponent),
    ):
        with pytest.raises(CryptoError, match="the engine is closed"):
            operation()


def test_every_operation_survives_children_that_are_killed(children: Engine, private: PrivateKey, tier: str) -> None:
    key = private.public
    tensor, ids = key.encrypt(np.arange(40), 0), [f"user-{number}" for number in range(1200)]
    exponent = (77).to_bytes(32, "little")
    points = curve.hash_to_group(ids, b"d")
    matrix = np.arange(40 * 60).reshape(40, 60)
    paillier = (
        (lambda: private.decrypt(children.encrypt(key, range(40), 0)), list(range(40))),
        (lambda: private.decrypt(children.obfuscate(key, tensor)), list(range(40))),
        (lambda: private.decrypt(children.add_plain_obfuscated(key, tensor, [1] * 40)), list(range(1, 41))),
        (lambda: private.decrypt(children.matvec(key, matrix, tensor, 0)), (matrix.T @ np.arange(40)).tolist()),
        (lambda: children.check(key, tensor), None),
        (lambda: children.decrypt(private, tensor), list(range(40))),
        (lambda: children.decrypt_residues(private, tensor), list(range(40))),
    )
    alignment = (
        (lambda: children.hash_to_group(ids, b"d"), points),
        (lambda: children.blind(points, exponent), curve.blind(points, exponent)),
    )
    # The native arithmetic has threads, which share the fate of their process.
    for operation, expected in (*(paillier if tier == "portable" else ()), *alignment):
        children.warm_up()
        # All of them: one that lives could do the whole operation before the death of another is noticed.
        killed = pids(children)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        assert operation() == expected
        assert len(killed) == 2
        # An operation of one piece replaces only the child that it needed.
        assert {*pids(children)} - {*killed}


def pids(engine: Engine) -> list[int]:
    return [child.process.pid for child in engine._pool._children if child.process and child.process.pid]


def test_closing_ends_children_that_fill_the_stock() -> None:
    # An obfuscator of this key takes seconds, so the children are at it when the engine closes.
    key = PublicKey(2**8191 + 1, short_exponents=False)
    engine = Engine(2)
    engine.warm_up()
    gone = [os.pidfd_open(pid) for pid in pids(engine)]
    engine.prefill(key, 1000)
    engine.close()
    # A pidfd can be read once its process has ended: all have when close returns.
    ended = select.select(gone, [], [], 0)[0]
    for descriptor in gone:
        os.close(descriptor)
    assert (len(gone), ended) == (2, gone)
    assert engine.prefilled(key) == 0


PARENT = """
import threading
from fedbus.crypto.engine import Engine
from fedbus.crypto.paillier import PublicKey
engine = Engine(2)
engine.warm_up()
engine.prefill(PublicKey(2**8191 + 1, short_exponents=False), 1000)
print(*[child.process.pid for child in engine._pool._children], flush=True)
threading.Event().wait()
"""


def test_an_engine_whose_process_is_killed_leaves_no_children() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            children = [int(pid) for pid in parent.stdout.readline().split()]
            waiting = {os.pidfd_open(pid) for pid in children}
            assert len(waiting) == 2
            # They are at work and would be for seconds.
            assert not select.select(waiting, [], [], 0)[0]
        finally:
            parent.kill()
        while waiting:
            ended = select.select(waiting, [], [], 20)[0]
            assert ended, "children outlive their parent"
            for descriptor in ended:
                os.close(descriptor)
            waiting -= {*ended}
