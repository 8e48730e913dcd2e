"""Keys and ciphertexts are exchanged with python-paillier (`phe`), the reference implementation."""

from __future__ import annotations

from collections.abc import Sequence

import phe

from fedbus.crypto.paillier import PrivateKey, PublicKey
from fedbus.crypto.tensor import CipherTensor

# phe's numbers carry an exponent of 16.
_EXPONENT_BITS = 4


def public_to_phe(key: PublicKey) -> phe.PaillierPublicKey:
    """Turn a public key into phe's form."""
    return phe.PaillierPublicKey(key.n)


def public_from_phe(key: phe.PaillierPublicKey) -> PublicKey:
    """Take over a public key of phe, with full-length exponents, because nothing is known of its primes."""
    return PublicKey(int(key.n), short_exponents=False)


def private_to_phe(key: PrivateKey) -> phe.PaillierPrivateKey:
    """Turn a secret key into phe's form."""
    return phe.PaillierPrivateKey(public_to_phe(key.public), key.p, key.q)


def private_from_phe(key: phe.PaillierPrivateKey) -> PrivateKey:
    """Take over a secret key of phe, with full-length exponents, because phe's primes need not be 3 mod 4."""
    return PrivateKey.from_primes(int(key.p), int(key.q), short_exponents=False)


def to_phe(key: PublicKey, tensor: CipherTensor) -> list[phe.EncryptedNumber]:
    """Turn ciphertexts into phe's numbers, which decrypt to the real values.

    Raises:
        WrongKey, InvalidCiphertext: the vector is not of this key.
        ValueError: the scale is no multiple of 4, so phe's exponent of 16 cannot express it.
    """
    if tensor.scale % _EXPONENT_BITS:
        raise ValueError(f"phe expresses scales that are multiples of {_EXPONENT_BITS}, not {tensor.scale}")
    key.check(tensor)
    theirs, width, blob = public_to_phe(key), tensor.width, tensor.blob
    numbers = [int.from_bytes(blob[start : start + width], "big") for start in range(0, len(blob), width)]
    return [phe.EncryptedNumber(theirs, number, -tensor.scale // _EXPONENT_BITS) for number in numbers]


def from_phe(key: PublicKey, numbers: Sequence[phe.EncryptedNumber]) -> CipherTensor:
    """Turn phe's numbers, all of one exponent, into a vector.
    phe obfuscates those that were computed, and so does this.

    Raises:
        ValueError: no numbers, of another key, or of several exponents.
    """
    exponents = {number.exponent for number in numbers}
    if len(exponents) != 1 or any(int(number.public_key.n) != key.n for number in numbers):
        raise ValueError("only numbers of one exponent and this key can be taken over")
    scale = -exponents.pop() * _EXPONENT_BITS
    blob = b"".join(int(number.ciphertext()).to_bytes(key.width, "big") for number in numbers)
    return CipherTensor(key.fingerprint, scale, key.width, blob)
