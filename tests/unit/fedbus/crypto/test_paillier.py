"""Paillier against python-paillier, known answers and plain integers."""

from __future__ import annotations

import operator
import pickle
from functools import reduce
from math import gcd

import gmpy2
import numpy as np
import phe
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbus.crypto import interop
from fedbus.crypto.keys import generate_keypair
from fedbus.crypto.paillier import PrivateKey, PublicKey
from fedbus.crypto.tensor import CipherTensor
from fedbus.errors import CryptoError, FixedPointOverflow, InvalidCiphertext, WrongKey
from places import vectors

pytestmark = pytest.mark.usefixtures("tier")

VECTORS = vectors("paillier.json")
INT64 = np.iinfo(np.int64)


def edges(n: int) -> list[int]:
    return [0, 1, -1, n // 2, -(n // 2), INT64.max, INT64.min]


def numbers(tensor: CipherTensor) -> list[int]:
    width = tensor.width
    return [int.from_bytes(tensor.blob[at : at + width], "big") for at in range(0, len(tensor.blob), width)]


def tensor(key: PublicKey, values: list[int], scale: int = 0) -> CipherTensor:
    return CipherTensor(key.fingerprint, scale, key.width, b"".join(v.to_bytes(key.width, "big") for v in values))


KEYS = {"512": (512, True), "512-full": (512, False), "2048": (2048, True)}


@pytest.fixture(scope="module", params=KEYS.values(), ids=KEYS)
def pair(request: pytest.FixtureRequest) -> PrivateKey:
    bits, short = request.param
    made = generate_keypair(bits, short_exponents=short)
    assert made.public.n.bit_length() == bits
    return made


def test_the_key_is_as_the_scheme_needs_it(pair: PrivateKey) -> None:
    p, q, key = pair.p, pair.q, pair.public
    assert p * q == key.n
    # Equal lengths and the two top bits: the product always has twice the length, with no attempt thrown away.
    assert p >> (key.bits // 2 - 2) == q >> (key.bits // 2 - 2) == 3
    assert abs(p - q).bit_length() > key.bits // 2 - 100
    assert p % 4 == q % 4 == 3
    assert gcd(p - 1, q - 1) == 2
    assert gmpy2.is_prime(p)
    assert gmpy2.is_prime(q)
    assert p != q


def test_h_is_an_nth_residue_of_half_of_the_largest_order(pair: PrivateKey) -> None:
    p, q, key = pair.p, pair.q, pair.public
    order = (p - 1) * (q - 1) // 2
    assert pow(key.h, order, key.n**2) == 1
    # Half of it is odd: the part of h that is a square vanishes and the sign stays.
    assert pow(key.h, order // 2, key.n**2) == key.n**2 - 1


def test_decrypts_what_it_encrypts(pair: PrivateKey) -> None:
    values = edges(pair.public.n)
    encrypted = pair.public.encrypt(values, 7)
    assert encrypted.scale == 7
    assert pair.decrypt(encrypted) == values
    assert pair.decrypt_residues(encrypted) == [value % pair.public.n for value in values]


def test_phe_decrypts_what_we_encrypt(pair: PrivateKey) -> None:
    values = edges(pair.public.n)
    theirs = interop.private_to_phe(pair)
    encrypted = interop.to_phe(pair.public, pair.public.encrypt(values, 0))
    assert [theirs.raw_decrypt(number.ciphertext()) for number in encrypted] == [v % pair.public.n for v in values]


def test_we_decrypt_what_phe_encrypts(pair: PrivateKey) -> None:
    theirs = interop.public_to_phe(pair.public)
    values = [0.0, 1.5, -2.25, 1e6]
    # An exponent of -14 to the base 16 stands for 56 fraction bits.
    encrypted = [theirs.encrypt(phe.EncodedNumber.encode(theirs, v).decrease_exponent_to(-14)) for v in values]
    taken = interop.from_phe(pair.public, encrypted)
    assert taken.scale == 56
    assert [value / 2**56 for value in pair.decrypt(taken)] == values


def test_phe_reads_our_scale(private: PrivateKey) -> None:
    theirs = interop.private_to_phe(private)
    (number,) = interop.to_phe(private.public, private.public.encrypt([-(5 << 38)], 40))
    assert theirs.decrypt(number) == -1.25
    with pytest.raises(ValueError, match="multiples of 4"):
        interop.to_phe(private.public, private.public.encrypt([1], 39))


def test_keys_of_phe_serve_with_full_exponents() -> None:
    public, theirs = phe.generate_paillier_keypair(n_length=512)
    ours = interop.private_from_phe(theirs)
    assert interop.public_from_phe(public) == ours.public
    assert not ours.public.short_exponents
    encrypted = ours.public.encrypt([12, -7], 0)
    assert ours.decrypt(encrypted) == [12, -7]
    assert [theirs.decrypt(number) for number in interop.to_phe(ours.public, encrypted)] == [12, -7]


def test_what_phe_computed_is_obfuscated_when_taken_over(private: PrivateKey) -> None:
    key = private.public
    (number,) = interop.to_phe(key, key.encrypt([-6], 4))
    (seven,) = interop.to_phe(key, key.encrypt([7 << 4], 4))
    computed = number * 3 + seven
    bare = computed.ciphertext(be_secure=False)
    taken = interop.from_phe(key, [computed])
    assert (private.decrypt(taken), taken.scale) == ([-18 + (7 << 4)], 4)
    assert numbers(taken)[0] % key.n != bare % key.n


def test_numbers_of_phe_that_make_no_vector_are_refused(private: PrivateKey, other: PrivateKey) -> None:
    key = private.public
    (number,) = interop.to_phe(key, key.encrypt([1], 0))
    (finer,) = interop.to_phe(key, key.encrypt([1], 4))
    (foreign,) = interop.to_phe(other.public, other.public.encrypt([1], 0))
    for bad in ([], [number, finer], [number, foreign]):
        with pytest.raises(ValueError, match="one exponent and this key"):
            interop.from_phe(key, bad)


def test_known_answers() -> None:
    p, q, r = (int(VECTORS[name], 16) for name in "pqr")
    private = PrivateKey.from_primes(p, q)
    residues = [int(case["residue"], 16) for case in VECTORS["cases"]]
    known = [int(case["ciphertext"], 16) for case in VECTORS["cases"]]
    assert private.decrypt_residues(tensor(private.public, known)) == residues
    # An obfuscator that is given is r**n, so the whole ciphertext is determined.
    obfuscator = pow(r, p * q, (p * q) ** 2).to_bytes(private.public.width, "big")
    assert numbers(private.public.encrypt(residues, 0, obfuscator * len(residues))) == known


def test_residues_and_signed_values_are_the_same_plaintexts(private: PrivateKey) -> None:
    n = private.public.n
    assert private.decrypt(private.public.encrypt([n - 1, n // 2 + 1], 0)) == [-1, -(n // 2)]


def test_values_outside_the_range_are_refused(private: PrivateKey) -> None:
    for value in (private.public.n, -(private.public.n // 2) - 1):
        with pytest.raises(FixedPointOverflow):
            private.public.encrypt([value], 0)
    with pytest.raises(TypeError):
        private.public.encrypt(np.array([1.5]), 0)


def test_homomorphic_operations(private: PrivateKey) -> None:
    key = private.public
    a, b = [5, -3, 0, 2**60], [-7, -3, 1, 2**61]
    left, right = key.encrypt(a, 3), key.encrypt(np.array(b), 3)
    assert private.decrypt(key.add(left, right)) == [x + y for x, y in zip(a, b, strict=True)]
    assert private.decrypt(key.add_plain(left, np.array(b))) == [x + y for x, y in zip(a, b, strict=True)]
    assert private.decrypt_residues(key.add_plain(left, [key.n - 1] * 4)) == [(x - 1) % key.n for x in a]
    assert private.decrypt(key.total(left)) == [sum(a)]
    assert private.decrypt(key.total(left.part(0, 0))) == [0]
    matrix = np.array([[1, 0, -4], [2, 0, INT64.max], [INT64.min, 0, 5], [-1, 0, 1]])
    product = key.matvec(matrix, left, 16)
    assert private.decrypt(product) == [sum(map(operator.mul, a, column)) for column in matrix.T.tolist()]
    assert product.scale == 19


@st.composite
def vectors_and_matrices(draw: st.DrawFn) -> tuple[list[int], list[int], np.ndarray]:
    rows, columns = draw(st.integers(0, 5)), draw(st.integers(0, 3))
    cell = st.one_of(st.sampled_from([0, 1, -1, INT64.max, INT64.min]), st.integers(INT64.min, INT64.max))
    encrypted, plain = (draw(st.lists(cell, min_size=rows, max_size=rows)) for _ in range(2))
    cells = draw(st.lists(cell, min_size=rows * columns, max_size=rows * columns))
    return encrypted, plain, np.array(cells, dtype=np.int64).reshape(rows, columns)


@given(vectors_and_matrices())
@settings(max_examples=40, deadline=None)
def test_a_linear_form_is_that_of_plain_integers(
    private: PrivateKey, drawn: tuple[list[int], list[int], np.ndarray]
) -> None:
    encrypted, plain, matrix = drawn
    key = private.public
    total = key.add_plain(key.add(key.encrypt(encrypted, 0), key.encrypt(plain, 0)), plain)
    expected = [x + 2 * y for x, y in zip(encrypted, plain, strict=True)]
    assert private.decrypt(total) == expected
    product = key.obfuscate(key.matvec(matrix, total, 0))
    assert private.decrypt(product) == [sum(map(operator.mul, expected, column)) for column in matrix.T.tolist()]


def test_a_product_is_that_of_phe(private: PrivateKey) -> None:
    theirs, key = interop.private_to_phe(private), private.public
    matrix = np.random.default_rng(2).integers(-(2**15), 2**15, size=(30, 3))
    encrypted = key.encrypt(np.arange(-15, 15), 0)
    columns = [map(operator.mul, interop.to_phe(key, encrypted), column) for column in matrix.T.tolist()]
    assert private.decrypt(key.matvec(matrix, encrypted, 0)) == [
        theirs.decrypt(reduce(operator.add, c)) for c in columns
    ]


def test_obfuscation_changes_the_ciphertext_and_not_the_value(pair: PrivateKey) -> None:
    key = pair.public
    before = key.encrypt([3, 3], 0)
    after = key.obfuscate(before)
    assert pair.decrypt(after) == [3, 3]
    assert len({*numbers(before), *numbers(after)}) == 4


def test_what_is_published_is_obfuscated(pair: PrivateKey) -> None:
    """A bare ciphertext is 1 modulo n, and so is the quotient of two that differ by a plaintext only."""
    key = pair.public
    encrypted = key.encrypt([0, 0, 1, -1, 5], 0)
    zero_column = key.matvec(np.zeros((5, 1), np.int64), encrypted, 0)
    assert numbers(zero_column) == [1]
    published = [*numbers(encrypted), *numbers(key.obfuscate(zero_column))]
    assert all((number - 1) % key.n for number in published)
    residues = [number % key.n for number in published]
    assert len(set(residues)) == len(residues)


def test_adding_plain_integers_does_not_hide_them(private: PrivateKey) -> None:
    """Whoever has the ciphertexts before and after divides them; only obfuscation takes that away."""
    key, masks = private.public, [0, 1, -5, INT64.max, private.public.n // 2]

    def quotients(after: CipherTensor) -> list[int]:
        pairs = zip(numbers(before), numbers(after), strict=True)
        return [pow(old, -1, key.n**2) * new % key.n**2 for old, new in pairs]

    before = key.encrypt([3, 0, 7, -1, 2], 0)
    bare = key.add_plain(before, masks)
    assert [(quotient - 1) // key.n for quotient in quotients(bare)] == [mask % key.n for mask in masks]
    assert all((quotient - 1) % key.n for quotient in quotients(key.obfuscate(bare)))


def test_obfuscators_made_in_advance_are_used_first_and_each_once(private: PrivateKey) -> None:
    key = private.public
    ready = key.obfuscators(3)
    assert len(ready) == 3 * key.width
    encrypted = numbers(key.encrypt([0, 0, 0, 0], 0, ready))
    assert b"".join(number.to_bytes(key.width, "big") for number in encrypted[:3]) == ready
    assert len(set(encrypted)) == 4
    assert (encrypted[3] - 1) % key.n
    again = key.obfuscate(tensor(key, [1, 1]), ready)
    assert numbers(again) == encrypted[:2]


def test_operations_that_do_not_fit_are_refused(private: PrivateKey, other: PrivateKey) -> None:
    key = private.public
    two, three = key.encrypt([1, 2], 0), key.encrypt([1, 2, 3], 0)
    for wrong in (three, key.encrypt([1, 2], 1)):
        with pytest.raises(ValueError, match="cannot be added"):
            key.add(two, wrong)
    with pytest.raises(ValueError, match="cannot be added"):
        key.add_plain(two, [1])
    foreign = other.public.encrypt([1, 2], 0)
    for operation in (
        lambda: key.add(two, foreign),
        lambda: key.add_plain(foreign, [1, 2]),
        lambda: key.obfuscate(foreign),
        lambda: key.total(foreign),
        lambda: key.matvec(np.ones((2, 1), np.int64), foreign, 0),
        lambda: key.check(foreign),
        lambda: private.decrypt(foreign),
        lambda: interop.to_phe(key, foreign),
    ):
        with pytest.raises(WrongKey, match=foreign.fingerprint.hex()):
            operation()


def test_numbers_that_are_no_ciphertexts_are_refused(private: PrivateKey) -> None:
    key = private.public
    good = numbers(key.encrypt([1, 2], 0))
    key.check(tensor(key, [1, key.n**2 - 1, *good]))
    key.check(tensor(key, []))
    for bad in (0, key.n**2, key.n**2 + 1, key.n, private.p, private.q * 12345, key.n * (key.n - 1)):
        for operation in (key.check, private.decrypt):
            with pytest.raises(InvalidCiphertext, match="number 1 of the vector"):
                operation(tensor(key, [good[0], bad, good[1]]))
    with pytest.raises(InvalidCiphertext, match="bytes instead of"):
        key.check(CipherTensor(key.fingerprint, 0, key.width - 1, b""))


def test_a_key_travels_as_bytes(pair: PrivateKey) -> None:
    key = pair.public
    read = PublicKey.from_bytes(key.to_bytes())
    assert read == key
    assert (read.fingerprint, read.h, read.width) == (key.fingerprint, key.h, key.width)
    assert pair.decrypt(read.encrypt([-9], 0)) == [-9]


def test_bytes_that_are_no_key_are_refused(private: PrivateKey) -> None:
    good = private.public.to_bytes()
    short = b"\1" + (2**255 + 1).to_bytes(32, "big")
    even = good[:-1] + bytes([good[-1] & 0xFE])
    three_modulo_four = good[:-1] + bytes([good[-1] | 3])
    long = b"\1" + (2**9000 + 1).to_bytes(1126, "big")
    for bad in (b"", b"\1", b"\2" + good[1:], b"\1\0" + good[1:], short, even, three_modulo_four, long):
        with pytest.raises(CryptoError):
            PublicKey.from_bytes(bad)


def test_fingerprints_tell_keys_apart(private: PrivateKey, other: PrivateKey) -> None:
    assert len(private.public.fingerprint) == 16
    assert private.public.fingerprint != other.public.fingerprint


def test_primes_that_do_not_make_a_key_are_refused(private: PrivateKey) -> None:
    p, q = private.p, private.q
    one_modulo_four = int(gmpy2.next_prime(q))
    while one_modulo_four % 4 != 1:
        one_modulo_four = int(gmpy2.next_prime(one_modulo_four))
    for bad in ((p, p), (p, q + 2), (p, one_modulo_four), (p, 3)):
        with pytest.raises(CryptoError):
            PrivateKey.from_primes(*bad)
    assert PrivateKey.from_primes(p, q) == private
    assert PrivateKey.from_primes(p, one_modulo_four, short_exponents=False).public.n == p * one_modulo_four


@pytest.mark.parametrize("bits", [511, 513, 256, 8194])
def test_lengths_of_keys_have_a_range(bits: int) -> None:
    with pytest.raises(CryptoError):
        generate_keypair(bits)


def test_a_secret_key_is_never_shown(private: PrivateKey) -> None:
    shown = f"{private!r} {private} {private.public!r}"
    assert str(private.p) not in shown
    assert str(private.q) not in shown
    assert hex(private.p)[2:] not in shown
    assert private.public.fingerprint.hex() in repr(private)
    assert pickle.loads(pickle.dumps(private)) == private  # noqa: S301  # as children of the engine get it
