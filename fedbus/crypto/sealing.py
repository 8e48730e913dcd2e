"""One party sends another messages past the coordinator:
they agree on keys by X25519, and seal messages by ChaCha20-Poly1305.

Source: Langley, Hamburg, Turner, RFC 7748 (X25519); Krawczyk, Eronen, RFC 5869 (HKDF-SHA256); Nir, Langley, RFC 8439,
section 2.8 (ChaCha20-Poly1305); Rogaway, Shrimpton, "Deterministic authenticated encryption", EUROCRYPT 2006 (a nonce
that is made from the plaintext).
"""

from __future__ import annotations

import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedbus.errors import CryptoError, InvalidPoint

SEED_BYTES = 16
KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
# What a sealed message is longer than its plaintext.
OVERHEAD_BYTES = _NONCE_BYTES + _TAG_BYTES
_DOES_NOT_OPEN = (
    "a sealed message does not open: it was changed on the way, replayed from elsewhere or made for somebody else"
)


def derive(secret: bytes, purpose: str, info: bytes, size: int = KEY_BYTES) -> bytes:
    """Derive `size` bytes from a secret by HKDF-SHA256, unrelated to those of any other purpose (the salt) or info."""
    return HKDF(SHA256(), size, f"fedbus {purpose}".encode(), info).derive(secret)


def key_pair(seed: bytes, label: str = "sealing") -> tuple[bytes, bytes]:
    """Make the X25519 key pair of a seed, so that whoever holds shares of the seed can make the pair again.

    Args:
        seed: SEED_BYTES, uniformly random.
        label: what the pair is for; pairs of two labels are unrelated.

    Returns:
        The private and the public key, KEY_BYTES each.

    Raises:
        ValueError: a seed of another length.
    """
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed has {SEED_BYTES} bytes")
    private = derive(seed, "key pair", label.encode())
    return private, X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agree(private: bytes, public: bytes) -> bytes:
    """Compute the secret, KEY_BYTES, that two holders of key pairs have in common.

    Raises:
        InvalidPoint: the public key is not KEY_BYTES long, or of low order, which would make the secret known to all.
        ValueError: the private key is not KEY_BYTES long.
    """
    if len(public) != KEY_BYTES:
        raise InvalidPoint(f"a public key of {len(public)} bytes, where {KEY_BYTES} are expected")
    own = X25519PrivateKey.from_private_bytes(private)
    try:
        return own.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise InvalidPoint("a public key of low order: the secret agreed with it would be known to all") from error


def seal(key: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """Encrypt and authenticate a message.

    Both ends of a key seal with it, so `associated` must say who sends to whom, besides job, round and step. Every
    associated data has a message key of its own, which alone would make a constant nonce safe for one plaintext
    each. A sender that is restarted may draw another plaintext for the same place, though; the nonce is a keyed hash
    of the plaintext, and two plaintexts then tell no more than that they differ. The same arguments give the same
    bytes: what is sent again is recognised as the same.

    Args:
        key: what `agree` gave.
        associated: what the recipient knows of the message already; not sent.

    Returns:
        Nonce, ciphertext and tag: OVERHEAD_BYTES more than the plaintext.

    Raises:
        ValueError: a key of another length.
    """
    message_key, nonce_key = _message_keys(key, associated)
    nonce = hmac.digest(nonce_key, plaintext, "sha256")[:_NONCE_BYTES]
    return nonce + ChaCha20Poly1305(message_key).encrypt(nonce, plaintext, associated)


def open_sealed(key: bytes, sealed: bytes, associated: bytes) -> bytes:
    """Return the plaintext of what `seal` made with the same key and associated data.

    Raises:
        CryptoError: it was changed, comes from another place of the protocol, or was made for somebody else; these
            cannot be told apart.
        ValueError: a key of another length.
    """
    message_key, _ = _message_keys(key, associated)
    nonce, ciphertext = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    try:
        if len(ciphertext) >= _TAG_BYTES:
            return ChaCha20Poly1305(message_key).decrypt(nonce, ciphertext, associated)
    except InvalidTag:
        pass
    raise CryptoError(_DOES_NOT_OPEN)


def seal_once(key: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """Encrypt and authenticate under a key that is used for nothing else, so that it needs no nonce.

    Returns:
        Ciphertext and tag, 16 bytes more than the plaintext.
    """
    return ChaCha20Poly1305(key).encrypt(bytes(_NONCE_BYTES), plaintext, associated)


def open_once(key: bytes, sealed: bytes | memoryview, associated: bytes) -> bytes:
    """The plaintext of what `seal_once` made; raises CryptoError as `open_sealed` does."""
    try:
        return ChaCha20Poly1305(key).decrypt(bytes(_NONCE_BYTES), sealed, associated)
    except (InvalidTag, ValueError):
        raise CryptoError(_DOES_NOT_OPEN) from None


def _message_keys(key: bytes, associated: bytes) -> tuple[bytes, bytes]:
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes")
    keys = derive(key, "sealed message", associated, 2 * KEY_BYTES)
    return keys[:KEY_BYTES], keys[KEY_BYTES:]
