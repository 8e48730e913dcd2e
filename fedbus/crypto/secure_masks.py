"""These are the masks of one party in one round of secure aggregation: they hide its vector and vanish from the sum.

Party u adds to its vector x_u a mask of its own and one for every peer v, all modulo 2^k:

    y_u = x_u + PRG(b_u) + sum over v > u of PRG(s_uv) - sum over v < u of PRG(s_uv)

In the sum over all parties the pair masks cancel. The coordinator takes off the masks of their own of those who sent
y_u, whose b_u was opened, and what the pairs with those who did not left over, whose key was opened. It must never
learn both of one party in one round.

Source: Bonawitz et al., "Practical secure aggregation for privacy-preserving machine learning", CCS 2017, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from fedbus.crypto.sealing import KEY_BYTES, SEED_BYTES, agree, derive, key_pair
from fedbus.errors import CryptoError

_CHACHA_BLOCK_BYTES = 64
# The counter has 32 bits; past it, the stream would begin anew.
_MAX_STREAM_BYTES = _CHACHA_BLOCK_BYTES << 32
# The words of a block, its mask and the zeros that are encrypted stay in the processor's second cache.
_BLOCK_WORDS = 1 << 16
_DTYPES = tuple(np.dtype(name) for name in ("<u2", "<u4", "<u8"))
_ZEROS = memoryview(bytes(_BLOCK_WORDS * 8))


def mask_key(seed: bytes) -> tuple[bytes, bytes]:
    """Make the X25519 pair, private and public, with which a party agrees on pair masks.

    Args:
        seed: 16 bytes; who holds shares of it can open the party's pair masks if it drops out.

    Raises:
        ValueError: a seed of another length.
    """
    return key_pair(seed, "mask")


def pair_secret(private: bytes, public: bytes, label: str) -> bytes:
    """Compute the key, 32 bytes, of the mask that two parties have in common; it is the same for both of them.

    Args:
        private: one's own key.
        public: the peer's.
        label: job, round and vector; a key masks one vector only.

    Raises:
        InvalidPoint: the public key is not one, or of low order.
    """
    return derive(agree(private, public), "pair mask", label.encode())


def self_secret(seed: bytes, label: str) -> bytes:
    """Compute the key, 32 bytes, of the mask that is a party's own.

    Args:
        seed: b_u, 16 bytes, drawn for this round only.
        label: as for `pair_secret`.

    Raises:
        ValueError: a seed of another length.
    """
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed has {SEED_BYTES} bytes")
    return derive(seed, "self mask", label.encode())


class MaskStream:
    """A stream of uniform words from a key, which can be read at any place: ChaCha20 with a nonce of zeros.

    Args:
        key: 32 bytes, used for one vector only.

    Source: Nir, Langley, RFC 8439, section 2.4.
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        self._key = key

    def words(self, start: int, count: int, dtype: Any) -> np.ndarray:
        """Return words `start` to `start + count` of the stream.

        Args:
            dtype: little-endian unsigned of 2, 4 or 8 bytes; the stream's bytes are the same for all.

        Returns:
            (count,) of `dtype`, read-only.

        Raises:
            CryptoError: the words lie beyond the end of the stream, 256 GiB.
            ValueError: a negative argument, or another dtype.
        """
        dtype = _word(dtype)
        return np.frombuffer(self.at(start, count, dtype).update(bytes(count * dtype.itemsize)), dtype)

    def at(self, start: int, count: int, dtype: np.dtype[Any]) -> CipherContext:
        """Return the cipher from word `start` on, of which `count` words are wanted; raises as `words`."""
        if start < 0 or count < 0:
            raise ValueError(f"words {start} to {start + count} are in no stream")
        if (start + count) * dtype.itemsize > _MAX_STREAM_BYTES:
            raise CryptoError(
                f"words {start} to {start + count} of a mask: a key gives {_MAX_STREAM_BYTES // dtype.itemsize} at most"
            )
        # At the very end the counter has no value; nothing is read there.
        block, skip = divmod(start * dtype.itemsize, _CHACHA_BLOCK_BYTES) if count else (0, 0)
        # The library's nonce: the counter of blocks, little-endian, and the nonce of the RFC.
        context = Cipher(ChaCha20(self._key, block.to_bytes(4, "little") + bytes(12)), mode=None).encryptor()
        context.update(bytes(skip))
        return context


class Masks:
    """A party's masks of one vector.

    Args:
        own: the key of its own mask, from `self_secret`.
        pairs: for each peer the key of the mask in common, from `pair_secret`.
        party: its own name; of two names the lesser in the order of strings adds, the greater subtracts.

    Raises:
        ValueError: the party is its own peer, or a key has another length.
    """

    __slots__ = ("_streams",)

    def __init__(self, own: bytes, pairs: Mapping[str, bytes], party: str) -> None:
        self._streams = [(MaskStream(own), True)]
        self._streams += [(MaskStream(key), _adds(party, peer)) for peer, key in pairs.items()]

    def apply(self, residues: np.ndarray, start: int) -> None:
        """Mask words `start` to `start + len(residues)` of the vector, in place.

        Args:
            residues: (count,) little-endian unsigned of 2, 4 or 8 bytes, the same size for all parts of a vector.

        Raises:
            CryptoError: the vector is longer than a stream.
            ValueError: another dtype or shape.
        """
        _apply(residues, start, self._streams)


def remove_self(total: np.ndarray, key: bytes, start: int) -> None:
    """Take a survivor's own mask off words `start` to `start + len(total)` of the sum, in place; raises as `apply`.

    Args:
        key: from `self_secret`.
    """
    _apply(total, start, [(MaskStream(key), False)])


def remove_pair(total: np.ndarray, key: bytes, start: int, dropped: str, survivor: str) -> None:
    """Take off the sum what a pair with a party that dropped out left in a survivor's vector, in place.

    Args:
        total: words `start` to `start + len(total)` of the sum.
        key: from `pair_secret`.

    Raises:
        CryptoError, ValueError: as `Masks.apply`.
    """
    _apply(total, start, [(MaskStream(key), not _adds(survivor, dropped))])


def _adds(party: str, peer: str) -> bool:
    if party == peer:
        raise ValueError(f"{party} has no mask in common with itself")
    return party < peer


def _apply(words: np.ndarray, start: int, streams: Sequence[tuple[MaskStream, bool]]) -> None:
    """Add (True) or subtract (False) streams; block by block, each block while it is in the cache."""
    dtype = _word(words.dtype)
    if words.ndim != 1:
        raise ValueError(f"a vector has one dimension, not {words.ndim}")
    ready = [(stream.at(start, len(words), dtype), np.add if adds else np.subtract) for stream, adds in streams]
    buffer = memoryview(bytearray(min(len(words), _BLOCK_WORDS) * dtype.itemsize))
    for first in range(0, len(words), _BLOCK_WORDS):
        block = words[first : first + _BLOCK_WORDS]
        keystream = buffer[: block.nbytes]
        mask = np.frombuffer(keystream, dtype)
        for context, operation in ready:
            context.update_into(_ZEROS[: block.nbytes], keystream)
            operation(block, mask, out=block)


def _word(dtype: Any) -> np.dtype[Any]:
    found: np.dtype[Any] = np.dtype(dtype)
    if found not in _DTYPES:
        raise ValueError(f"words are little-endian unsigned of 2, 4 or 8 bytes, not {found.str}")
    return found
