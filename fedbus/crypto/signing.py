"""Ed25519 signatures of statements: a purpose and parts, which nobody can read as another purpose or other parts.

Source: Josefsson, Liusvaara, RFC 8032, section 5.1 (Ed25519).
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PRIVATE_BYTES = 32
PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64
_DOMAIN = b"fedbus statement"
_LENGTH_BYTES = 8


def generate() -> bytes:
    """A new private key, PRIVATE_BYTES, from the operating system's generator."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def public_key(private: bytes) -> bytes:
    """The public key, PUBLIC_BYTES, of a private key.

    Raises:
        ValueError: the private key is not PRIVATE_BYTES long.
    """
    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def sign(private: bytes, message: bytes) -> bytes:
    """The signature of a message, SIGNATURE_BYTES; the same key and message always give the same.

    Raises:
        ValueError: the private key is not PRIVATE_BYTES long.
    """
    return Ed25519PrivateKey.from_private_bytes(private).sign(message)


def is_signed(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether a signature of any length is that of the message by the holder of a public key.

    Raises:
        ValueError: the public key is not PUBLIC_BYTES long.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def statement(purpose: str, parts: Sequence[bytes]) -> bytes:
    """The bytes to sign for a purpose and its parts; different for any other purpose or parts.

    Every field follows its length, so a byte cannot move from one field to the next without changing the statement.
    """
    fields = (purpose.encode(), *parts)
    return _DOMAIN + b"".join(len(field).to_bytes(_LENGTH_BYTES, "big") + field for field in fields)
