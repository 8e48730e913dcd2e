"""Keys of the sizes in use, and of an odd one: both tiers, phe and plain integers say the same."""

from __future__ import annotations

import operator
from functools import reduce

import numpy as np
import pytest

from fedbus.crypto import interop
from fedbus.crypto import tier as tiers
from fedbus.crypto.keys import generate_keypair
from fedbus.crypto.lanes import Lanes
from fedbus.crypto.paillier import PrivateKey
from fedbus.crypto.portable import Portable

pytestmark = pytest.mark.usefixtures("tier")


@pytest.fixture(scope="module", params=[2048, 3072, 1034])
def pair(request: pytest.FixtureRequest) -> PrivateKey:
    return generate_keypair(request.param)


def edges(n: int) -> list[int]:
    return [0, 1, -1, n // 2, -(n // 2), 2**63 - 1, -(2**63), 12345]


def test_phe_and_both_tiers_say_the_same(pair: PrivateKey) -> None:
    key, values = pair.public, edges(pair.public.n)
    theirs, public = interop.private_to_phe(pair), interop.public_to_phe(pair.public)
    residues = [value % key.n for value in values]

    encrypted = key.encrypt(values, 0)
    assert pair.decrypt(encrypted) == values
    assert [theirs.raw_decrypt(number.ciphertext()) for number in interop.to_phe(key, encrypted)] == residues
    foreign = interop.from_phe(key, [public.encrypt(value) for value in (5, -5, 0)])
    assert pair.decrypt(foreign) == [5, -5, 0]

    total = key.add(encrypted, key.obfuscate(encrypted))
    assert pair.decrypt_residues(total) == [2 * residue % key.n for residue in residues]
    assert pair.decrypt_residues(key.total(encrypted)) == [sum(residues) % key.n]
    shifted = key.add_plain(encrypted, residues[::-1])
    assert pair.decrypt_residues(shifted) == [(x + y) % key.n for x, y in zip(residues, residues[::-1], strict=True)]


def test_a_gradient_is_that_of_phe(pair: PrivateKey) -> None:
    key, random = pair.public, np.random.default_rng(5)
    matrix = random.integers(-(2**15), 2**15, size=(12, 3))
    residuals = random.integers(-(2**40), 2**40, size=12)
    encrypted = key.encrypt(residuals, 0)
    numbers = interop.to_phe(key, encrypted)
    products = [reduce(operator.add, map(operator.mul, numbers, column)) for column in matrix.T.tolist()]
    theirs = interop.private_to_phe(pair)
    ours = pair.decrypt(key.matvec(matrix, encrypted, 0))
    assert ours == [theirs.decrypt(product) for product in products] == (matrix.T @ residuals).tolist()


@pytest.mark.parametrize("tier", [tiers.NATIVE], indirect=True)
def test_both_tiers_give_the_same_bytes(pair: PrivateKey) -> None:
    key, values = pair.public, edges(pair.public.n)
    lanes, portable, masks = Lanes(key), Portable(key), key.obfuscators(len(values))
    blob = portable.encrypt(values, masks)
    matrix = np.random.default_rng(6).integers(-1000, 1000, size=(len(values), 5))
    assert lanes.encrypt(values, masks) == blob
    assert lanes.multiply(blob, masks) == portable.multiply(blob, masks) == lanes.obfuscate(blob, masks)
    assert lanes.add_plain(blob, values) == portable.add_plain(blob, values)
    assert lanes.product(blob * 30) == portable.product(blob * 30)
    assert lanes.matvec(matrix, blob) == portable.matvec(matrix, blob)
    for number, unit in ((1, True), (pair.p, False), (0, False), (key.n, False)):
        one = number.to_bytes(key.width, "big")
        assert lanes.are_units(blob + one) is portable.are_units(blob + one) is unit
