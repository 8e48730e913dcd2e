"""A vector of ciphertexts is stored and sent in this form: one blob, one public scale, one key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

FINGERPRINT_BYTES = 16


@dataclass(frozen=True, slots=True)
class CipherTensor:
    """A vector of Paillier ciphertexts.

    One scale serves the whole vector: a scale for each value would tell its magnitude.

    Attributes:
        fingerprint: the key's, FINGERPRINT_BYTES long.
        scale: fraction bits; the plaintext integer is round(value * 2**scale).
        width: bytes of one ciphertext.
        blob: len(self) * width bytes, big-endian, in order.
    """

    fingerprint: bytes
    scale: int
    width: int
    blob: bytes

    def __post_init__(self) -> None:
        # What was received may be anything, and what is computed relies on it.
        if not (isinstance(self.fingerprint, bytes) and isinstance(self.blob, bytes)):
            raise ValueError("a cipher tensor's fingerprint or blob is not bytes")  # noqa: TRY004  # as malformed as others
        if len(self.fingerprint) != FINGERPRINT_BYTES or self.width <= 0 or len(self.blob) % self.width:
            raise ValueError("a cipher tensor's blob is not a whole number of ciphertexts")

    def __len__(self) -> int:
        return len(self.blob) // self.width

    def part(self, start: int, stop: int) -> CipherTensor:
        """Return the ciphertexts from start to stop, excluding stop."""
        blob = self.blob[start * self.width : stop * self.width]
        return CipherTensor(self.fingerprint, self.scale, self.width, blob)

    def every(self, step: int, first: int) -> CipherTensor:
        """Return the ciphertexts first, first + step, first + 2 * step and so on."""
        rows = np.frombuffer(self.blob, dtype=np.uint8).reshape(len(self), self.width)
        return CipherTensor(self.fingerprint, self.scale, self.width, rows[first::step].tobytes())

    @staticmethod
    def join(parts: Iterable[CipherTensor]) -> CipherTensor:
        """Join all parts, in order, to one vector.

        Raises:
            ValueError: there are none, or they differ in key, scale or width.
        """
        parts = list(parts)
        if len({(part.fingerprint, part.scale, part.width) for part in parts}) != 1:
            raise ValueError("only parts of one key and one scale can be joined")
        first = parts[0]
        return CipherTensor(first.fingerprint, first.scale, first.width, b"".join(part.blob for part in parts))
