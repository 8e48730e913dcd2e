"""Keys as files and rosters write them, and fingerprints of public ones for people to compare."""

from __future__ import annotations

import base64
import binascii
import hashlib

from fedbus.crypto import edwards, signing

PRIVATE = "ed25519-private:"
PUBLIC = "ed25519:"
FINGERPRINT_BYTES = 16
_DOMAIN = b"fedbus fingerprint"
_GROUP_BYTES = 2


def private_text(key: bytes) -> str:
    """A private key as its file has it."""
    return PRIVATE + base64.b64encode(key).decode()


def public_text(key: bytes) -> str:
    """A public key as the roster has it."""
    return PUBLIC + base64.b64encode(key).decode()


def read_private(text: str) -> bytes | None:
    """The key that `private_text` wrote; None where it is none."""
    return _read(text, PRIVATE, signing.PRIVATE_BYTES)


def read_public(text: str) -> bytes | None:
    """The key that `public_text` wrote; None where it is none, or one that no private key has."""
    key = _read(text, PUBLIC, signing.PUBLIC_BYTES)
    return key if key is not None and edwards.is_sound(key) else None


def fingerprint(public: bytes) -> bytes:
    """What stands for a public key where people compare keys, FINGERPRINT_BYTES.

    It is cut from SHA-256. Whoever wants a key of another's fingerprint has to try some 2^128 keys.
    """
    return hashlib.sha256(_DOMAIN + public).digest()[:FINGERPRINT_BYTES]


def in_groups(found: bytes) -> str:
    """A fingerprint as eight groups of four hexadecimal digits."""
    return found.hex(" ", _GROUP_BYTES)


def in_words(found: bytes) -> str:
    """A fingerprint as twelve English words to read out on the phone; the last one also checks the others.

    No two of the 2048 words begin with the same four letters. They are no secret, and no wallet's.

    Source: Palatinus, Rusnak, Voisine, Bowe, "Mnemonic code for generating deterministic keys", BIP 39.
    """
    # Reads its list of words; only commands show words.
    from mnemonic import Mnemonic

    return Mnemonic("english").to_mnemonic(found)


def _read(text: str, prefix: str, size: int) -> bytes | None:
    if not text.startswith(prefix):
        return None
    try:
        key = base64.b64decode(text.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        return None
    # Base64 of another spelling would be one key under two texts.
    return key if len(key) == size and base64.b64encode(key).decode() == text.removeprefix(prefix) else None
