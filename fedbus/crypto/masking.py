"""Masks, shuffles and exponents are drawn from one secret, so that a restarted process draws the same again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedbus.crypto.curve import ORDER, RISTRETTO255, SCALAR_BYTES, X25519
from fedbus.crypto.sealing import KEY_BYTES

MIN_SECRET_BYTES = 16
_SALT = b"fedbus secret stream"
_SORT_KEY = np.dtype(">u8")


class SecretStream:
    """A stream of secret random values that depends on nothing but a secret and a label.

    The same calls in the same order give the same values in every process. Values of two labels are independent as far
    as anybody can tell who does not know the secret.

    Args:
        secret: MIN_SECRET_BYTES or more, uniformly random.
        label: what the values are for; never use one label for two purposes.

    Raises:
        ValueError: the secret is too short.

    Source: Krawczyk, Eronen, RFC 5869 (HKDF-SHA256 gives the key); Nir, Langley, RFC 8439 (ChaCha20 gives the stream).
    """

    def __init__(self, secret: bytes, label: str) -> None:
        if len(secret) < MIN_SECRET_BYTES:
            raise ValueError(f"a secret has at least {MIN_SECRET_BYTES} bytes")
        key = HKDF(SHA256(), KEY_BYTES, _SALT, label.encode()).derive(secret)
        # The key serves one stream only, so the nonce may be constant.
        self._stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        return self._stream.update(bytes(count))

    def residues(self, modulus: int, count: int) -> list[int]:
        """Draw integers that are uniform over [0, modulus), by rejection, so without a bias towards small ones.

        Raises:
            ValueError: the modulus is not positive.
        """
        if modulus < 1:
            raise ValueError("a modulus is positive")
        bits = (modulus - 1).bit_length()
        width, surplus = (bits + 7) // 8, -bits % 8
        found: list[int] = []
        while len(found) < count:
            candidate = int.from_bytes(self.read(width), "big") >> surplus
            if candidate < modulus:
                found.append(candidate)
        return found

    def permutation(self, count: int) -> np.ndarray:
        """Draw a uniformly random order of 0..count-1, shape (count,), by sorting random keys of 128 bits.

        Two equal keys, which would favour an order, have probability below count**2 / 2**129.
        """
        keys = np.frombuffer(self.read(16 * count), dtype=_SORT_KEY).reshape(count, 2)
        return np.lexsort((keys[:, 1], keys[:, 0]))

    def scalar(self, group: str = RISTRETTO255) -> bytes:
        """Draw a secret exponent of an alignment group, little-endian, SCALAR_BYTES, uniform over all that there are.

        Those of ristretto255 are 1..ORDER-1, those of x25519 any bytes: RFC 7748, section 5, says how they are clamped.
        """
        if group == X25519:
            return self.read(SCALAR_BYTES)
        (value,) = self.residues(ORDER - 1, 1)
        return (value + 1).to_bytes(SCALAR_BYTES, "little")


def unmask(values: Sequence[int], masks: Sequence[int], modulus: int) -> list[int]:
    """Take masks off values in Z_modulus.

    Args:
        values, masks: residues of equal number.

    Returns:
        Signed integers in [-modulus/2, modulus/2].

    Raises:
        ValueError: the numbers of values and masks differ.
    """
    half = modulus // 2
    differences = ((value - mask) % modulus for value, mask in zip(values, masks, strict=True))
    return [difference - modulus if difference > half else difference for difference in differences]
